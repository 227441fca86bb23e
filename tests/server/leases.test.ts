/** A publication between an index and its signature: whoever began to read gets the pair that belongs together. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { needClient } from "../support/clients.ts";
import { gpgFolder } from "../support/gpg.ts";
import { get, issuePair, type Pair, publish, startServer } from "./running-server.ts";

test("C12 C13 a release published between repomd.xml and repomd.xml.asc, or Release and Release.gpg, gives a pair that gpgv accepts", async (t) => {
  if (!needClient(t, "gpgv")) return;
  const running = await startServer();
  t.after(() => running.stop());
  const folder = await gpgFolder(t);
  await publish(running, "coequal", "1.0.0");
  const acme = await issuePair(running, "acme", "coequal");
  const other = await issuePair(running, "other", "coequal");
  const read = async (path: string, pair?: Pair): Promise<Buffer> => {
    const response = await get(running, path, pair);
    assert.equal(response.status, 200, path);
    return Buffer.from(await response.arrayBuffer());
  };
  await folder.write("keyring.gpg", await read("/keys/coequal.gpg"));
  const isGood = async (signature: Buffer, content: Buffer): Promise<boolean> => {
    const [signatureFile, contentFile] = [join(folder.path, "signature"), join(folder.path, "content")];
    await writeFile(signatureFile, signature);
    await writeFile(contentFile, content);
    return (await folder.run(["gpgv", "--keyring", join(folder.path, "keyring.gpg"), signatureFile, contentFile])).exitCode === 0;
  };
  let patch = 0;
  for (const [first, second] of [
    ["/yum/coequal/stable/repodata/repomd.xml", "/yum/coequal/stable/repodata/repomd.xml.asc"],
    ["/apt/coequal/dists/stable/Release", "/apt/coequal/dists/stable/Release.gpg"],
  ] as const) {
    const content = await read(first, acme);
    patch += 1;
    await publish(running, "coequal", `1.0.${patch}`);
    assert.ok(await isGood(await read(second, acme), content), `${second} belongs to the ${first} that was read before`);
    const newest = await read(second, other);
    assert.ok(!(await isGood(newest, content)), "another pair holds no lease and sees the newest signature");
    assert.ok(await isGood(newest, await read(first, acme)), `${first} itself is always the newest`);
  }
});

test("C13 every file that a repomd.xml of a moment ago names is still there after the next publication", async (t) => {
  const running = await startServer();
  t.after(() => running.stop());
  await publish(running, "coequal", "1.0.0");
  const pair = await issuePair(running, "acme", "coequal");
  const root = "/yum/coequal/stable";
  const repomd = await (await get(running, `${root}/repodata/repomd.xml`, pair)).text();
  await publish(running, "coequal", "1.0.1");
  const names = [...repomd.matchAll(/href="([^"]+)"/g)].map((match) => match[1] ?? "");
  assert.equal(names.length, 3);
  for (const name of names) {
    const response = await get(running, `${root}/${name}`, pair);
    assert.equal(response.status, 200, name);
    await response.arrayBuffer();
  }
});

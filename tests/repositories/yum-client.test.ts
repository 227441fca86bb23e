/** The YUM repository in the hands of a real dnf that checks both signatures. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parseVersion } from "../../src/model/version.ts";
import { yumRepo } from "../../src/repositories/setup.ts";
import type { YumFragments } from "../../src/repositories/yum-fragments.ts";
import { exportPublicKeys } from "../../src/trust/openpgp.ts";
import { signRpmHeader } from "../../src/trust/rpm-signature.ts";
import { type DnfRoot, withDnfRoot } from "../support/dnf-root.ts";
import { type StaticServer, serveFiles } from "../support/static-server.ts";
import { printingPackage, writeTestRpm, yumFragmentsOf } from "../support/test-packages.ts";
import { makeTestKey, type TestKey, TestRepository } from "../support/test-repository.ts";

const pair = { keyId: "SLW-ACME-1", secret: "s3cret-of-acme" };
const keyPath = "/keys/coequal.asc";
const keys = Promise.all([makeTestKey("repository", "rsa4096"), makeTestKey("release", "rsa4096")]);

/** Builds a signed rpm that logs its scripts, puts it beside repodata and returns its fragments. */
async function release(server: StaticServer, version: string, key: TestKey | undefined): Promise<YumFragments> {
  const scripts = { postinstall: '#!/bin/sh\necho "post $1" >> /scripts.log\n' };
  const one = { ...printingPackage("coequal", parseVersion(version)), scripts };
  const bytes = await writeTestRpm(one, key === undefined ? undefined : (header) => Promise.resolve(signRpmHeader(header, key.signingKey, 1_780_000_000)));
  const href = `x86_64/coequal-${version}-1.x86_64.rpm`;
  server.files.set(`/yum/coequal/stable/${href}`, bytes);
  return yumFragmentsOf(bytes, href);
}

async function start(
  t: Parameters<typeof serveFiles>[0],
): Promise<{ server: StaticServer; repository: TestRepository; repositoryKey: TestKey; releaseKey: TestKey }> {
  const [repositoryKey, releaseKey] = await keys;
  const server = await serveFiles(t, { ...pair, openPaths: [keyPath] });
  server.files.set(keyPath, await exportPublicKeys([Buffer.from(repositoryKey.publicKey), Buffer.from(releaseKey.publicKey)], "asc-blocks"));
  return { server, repository: new TestRepository(server.files), repositoryKey, releaseKey };
}

async function succeeds(root: DnfRoot, args: readonly string[]): Promise<string> {
  const result = await root.run(args);
  assert.equal(result.exitCode, 0, `dnf ${args.join(" ")}\n${result.stdout}\n${result.stderr}`);
  return result.stdout;
}

async function fails(root: DnfRoot, args: readonly string[], pattern: RegExp): Promise<void> {
  const result = await root.run(args);
  assert.notEqual(result.exitCode, 0, result.stdout);
  assert.match(result.stdout + result.stderr, pattern);
}

const place = (server: StaticServer) => ({ baseUrl: server.baseUrl, product: "coequal", channel: "stable" });

test("dnf with gpgcheck and repo_gpgcheck installs a pinned version, upgrades, and reads files and changes", async (t) => {
  const { server, repository, repositoryKey, releaseKey } = await start(t);
  await repository.publishYum(repositoryKey, { add: [await release(server, "1.4.0", releaseKey), await release(server, "1.4.1", releaseKey)] });
  await withDnfRoot(t, async (root) => {
    await root.writeRepo(yumRepo(place(server), pair));
    await succeeds(root, ["install", "coequal-1.4.0"]);
    assert.match((await root.rpm(["-q", "coequal"])).stdout, /^coequal-1\.4\.0-1\.x86_64$/m);
    assert.ok(server.log.includes("GET 200 /yum/coequal/stable/repodata/repomd.xml.asc"), "the signature of the indexes was asked for");

    await repository.publishYum(repositoryKey, { add: [await release(server, "1.4.2", releaseKey), await release(server, "1.5.0-rc.1", releaseKey)] });
    await succeeds(root, ["--refresh", "upgrade", "coequal-1.4.2"]);
    assert.match((await root.rpm(["-q", "coequal"])).stdout, /^coequal-1\.4\.2-1\.x86_64$/m);
    assert.equal(await readFile(join(root.path, "scripts.log"), "utf8"), "post 1\npost 2\n");
    const listed = await succeeds(root, ["repoquery", "--qf", "%{name} %{evr} %{location}", "coequal"]);
    assert.deepEqual(listed.trim().split("\n").slice(-4), [
      "coequal 1.4.0-1 x86_64/coequal-1.4.0-1.x86_64.rpm",
      "coequal 1.4.1-1 x86_64/coequal-1.4.1-1.x86_64.rpm",
      "coequal 1.4.2-1 x86_64/coequal-1.4.2-1.x86_64.rpm",
      "coequal 1.5.0~rc.1-1 x86_64/coequal-1.5.0-rc.1-1.x86_64.rpm",
    ]);
    const files = await succeeds(root, ["repoquery", "-l", "coequal-1.4.1"]);
    assert.match(files, /^\/usr\/bin\/coequal$/m);
    assert.match(files, /^\/etc\/coequal\/coequal\.conf$/m);
    assert.match(await succeeds(root, ["repoquery", "--file", "/usr/bin/coequal"]), /coequal/);
    const description = await succeeds(root, ["repoquery", "--qf", "%{description}", "coequal-1.4.1"]);
    assert.match(description, /First paragraph <with> "marks" & more\./);
  });
});

test("dnf no longer sees what was removed", async (t) => {
  const { server, repository, repositoryKey, releaseKey } = await start(t);
  const old = await release(server, "1.0.0", releaseKey);
  await repository.publishYum(repositoryKey, { add: [old, await release(server, "1.1.0", releaseKey)] });
  await repository.publishYum(repositoryKey, { add: [], remove: [old] });
  await withDnfRoot(t, async (root) => {
    await root.writeRepo(yumRepo(place(server), pair));
    const listed = await succeeds(root, ["repoquery", "--qf", "%{evr}", "coequal"]);
    assert.deepEqual(listed.trim().split("\n").slice(-1), ["1.1.0-1"]);
    assert.doesNotMatch(listed, /1\.0\.0/);
  });
});

test("dnf refuses a tampered rpm, an unsigned rpm, indexes of another key and a wrong secret", async (t) => {
  const { server, repository, repositoryKey, releaseKey } = await start(t);
  await repository.publishYum(repositoryKey, { add: [await release(server, "1.4.0", releaseKey), await release(server, "1.4.1", undefined)] });
  await withDnfRoot(t, async (root) => {
    await root.writeRepo(yumRepo(place(server), pair));
    await fails(root, ["install", "coequal-1.4.1"], /not signed/);

    const path = "/yum/coequal/stable/x86_64/coequal-1.4.0-1.x86_64.rpm";
    const good = server.files.get(path) ?? new Uint8Array();
    server.files.set(path, good.with(good.length - 20, (good.at(-20) ?? 0) ^ 1));
    await fails(root, ["install", "coequal-1.4.0"], /checksum|Cannot download/i);
    server.files.set(path, good);

    await root.writeRepo(yumRepo(place(server), { ...pair, secret: "wrong" }));
    await fails(root, ["--refresh", "install", "coequal-1.4.0"], /Status code: 401/);

    await root.writeRepo(yumRepo(place(server), pair));
    await repository.publishYum(await makeTestKey("stranger", "ed25519"), { add: [] });
    await fails(root, ["--refresh", "install", "coequal-1.4.0"], /Bad GPG signature|repomd\.xml/);
    assert.equal((await root.rpm(["-q", "coequal"])).exitCode, 1);
  });
});

test("dnf reads indexes of many gzip members whole, grown by additions and removals", async (t) => {
  const { server, repository, repositoryKey, releaseKey } = await start(t);
  const real = await release(server, "1.4.0", releaseKey);
  // The same fragment under other names, versions and digests: a thousand packages that nobody installs.
  const renamed = (text: string, index: number): string =>
    text.replaceAll("coequal", `coequal-${index}`).replaceAll(/[0-9a-f]{64}/g, index.toString(16).padStart(64, "0"));
  const copies = Array.from(
    { length: 1000 },
    (_, index): YumFragments => ({ primary: renamed(real.primary, index), filelists: renamed(real.filelists, index), other: renamed(real.other, index) }),
  );
  for (let from = 0; from < copies.length; from += 250) await repository.publishYum(repositoryKey, { add: copies.slice(from, from + 250) });
  await repository.publishYum(repositoryKey, { add: [real], remove: copies.slice(100, 150) });
  await withDnfRoot(t, async (root) => {
    await root.writeRepo(yumRepo(place(server), pair));
    const listed = await succeeds(root, ["repoquery", "--qf", "%{name}", "coequal*"]);
    const names = listed.split("\n").filter((line) => line.startsWith("coequal"));
    assert.equal(names.filter((name) => /^coequal(-\d+)?$/.test(name)).length, 951);
    assert.match(await succeeds(root, ["repoquery", "-l", "coequal-999"]), /^\/usr\/bin\/coequal-999$/m);
    await succeeds(root, ["install", "coequal"]);
  });
});

/** What the vendor took back is gone from the mirror too, and who asks for it hears why, in apt's and curl's own words. */
import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { httpSource } from "../../src/mirror/source.ts";
import { aptSources } from "../../src/repositories/setup.ts";
import { serveMirror } from "../../src/server/mirror-server.ts";
import { withAptRoot } from "../support/apt-root.ts";
import { needClient } from "../support/clients.ts";
import {
  createSampleMirror,
  createSampleVendor,
  memorySource,
  product,
  type SampleMirror,
  type SampleVendor,
  sha256,
  type SyncOptions,
} from "./sample-source.ts";

const listen = { host: "127.0.0.1", port: 0 };
const why = { state: "withdrawn", replacement: parseVersion("1.0.0"), reason: "loses sessions – at once" } as const;
const text = `${product} 1.1.0 was withdrawn by the vendor; use 1.0.0 instead (loses sessions`;
const debPath = (version: string): string => `apt/${product}/pool/main/c/${product}/${product}_${version}_amd64.deb`;

type Served = { readonly vendor: SampleVendor; readonly mirror: SampleMirror; readonly address: string };

async function served(t: TestContext, options: SyncOptions = {}): Promise<Served> {
  const vendor = await createSampleVendor(["1.0.0", "1.1.0"]);
  const mirror = await createSampleMirror(t, vendor);
  await mirror.sync(memorySource(vendor), options);
  const server = await serveMirror({ directory: mirror.directory, listen, pairs: undefined });
  t.after(() => server.stop());
  return { vendor, mirror, address: server.address };
}

async function answerAt({ address }: Served, path: string): Promise<{ status: number; phrase: string; body: string }> {
  const response = await fetch(`${address}/${path}`);
  return { status: response.status, phrase: response.statusText, body: await response.text() };
}

test("C6 C7 a version that its vendor withdrew answers 410 with the reason from the mirror too, at once, for good, and in every format", async (t) => {
  const at = await served(t);
  const { vendor, mirror } = at;
  const imageIndex = `sha256:${sha256(vendor.get(`v2/${product}/manifests/1.1.0`))}`;
  const paths = [
    debPath("1.1.0"),
    `yum/${product}/stable/x86_64/${product}-1.1.0-1.x86_64.rpm`,
    `apk/${product}/stable/x86_64/${product}-1.1.0-r0.apk`,
    `releases/${product}/1.1.0/${product}-1.1.0-linux-amd64`,
    `releases/${product}/1.1.0/SHA256SUMS`,
  ];
  for (const path of paths) assert.equal((await answerAt(at, path)).status, 200, path);
  await vendor.withdraw("1.1.0", why);
  await mirror.sync(memorySource(vendor));
  const check = async (): Promise<void> => {
    for (const path of paths) {
      const answer = await answerAt(at, path);
      assert.equal(answer.status, 410, path);
      assert.ok(answer.phrase.startsWith(`Gone - ${text}`), answer.phrase);
      assert.ok(answer.body.includes("loses sessions – at once"), answer.body);
    }
    for (const reference of ["1.1.0", imageIndex]) {
      const answer = await answerAt(at, `v2/${product}/manifests/${reference}`);
      assert.equal(answer.status, 404, reference);
      const { errors } = JSON.parse(answer.body) as { errors: { code: string; message: string }[] };
      assert.equal(errors[0]?.code, "MANIFEST_UNKNOWN");
      assert.ok(errors[0]?.message.startsWith(text), answer.body);
    }
    assert.equal((await answerAt(at, `releases/${product}/1.7.0/SHA256SUMS`)).status, 404, "what never was is not gone");
    assert.equal((await answerAt(at, debPath("1.0.0"))).status, 200);
  };
  await check();
  await vendor.publish("1.2.0");
  await mirror.sync(memorySource(vendor));
  await check();
});

test("C6 C7 a mirror of package repositories alone asks the vendor for what left, and answers 410 with the reason", async (t) => {
  const packages: SyncOptions = { selection: { formats: ["apt", "yum"], architectures: ["amd64"] } };
  const at = await served(t, packages);
  const { vendor, mirror } = at;
  const rpm = `yum/${product}/stable/x86_64/${product}-1.1.0-1.x86_64.rpm`;
  await vendor.withdraw("1.1.0", why);
  await vendor.publish("1.2.0");
  const source = memorySource(vendor);
  await mirror.sync(source, packages);
  for (const path of [debPath("1.1.0"), rpm]) {
    const answer = await answerAt(at, path);
    assert.ok(answer.status === 410 && answer.phrase.startsWith(`Gone - ${text}`), `${path}: ${answer.status} ${answer.phrase}`);
  }
  const asked = source.log.filter((line) => line.startsWith("gone?"));
  assert.deepEqual(asked.toSorted(), [`gone? ${debPath("1.1.0")}`, `gone? ${rpm}`], "the packages, and no index");
  const again = memorySource(vendor);
  await mirror.sync(again, packages);
  assert.ok(!again.log.some((line) => line.startsWith("gone?")), "once");
  assert.equal((await answerAt(at, debPath("1.1.0"))).status, 410);
  // The next mirror in a row hears it from this one.
  const next = httpSource({ url: new URL(at.address), fetch: globalThis.fetch, credentials: undefined, isPlainHttpAllowed: true });
  const { signal } = new AbortController();
  assert.equal(await next.goneVersion(debPath("1.1.0"), signal), "1.1.0");
  assert.equal(await next.goneVersion(debPath("1.0.0"), signal), undefined);
  assert.equal(await next.goneVersion(debPath("7.0.0"), signal), undefined);
});

test("C7 a source that calls a version gone which its own list does not is not repeated", async (t) => {
  const packages: SyncOptions = { selection: { formats: ["apt"] } };
  const at = await served(t, packages);
  await at.vendor.withdraw("1.1.0", why);
  at.vendor.goneFiles.set(`/${debPath("1.1.0")}`, "1.0.0");
  await at.mirror.sync(memorySource(at.vendor), { ...packages, keepMs: 0 });
  assert.equal((await answerAt(at, debPath("1.1.0"))).status, 404);
});

test("C6 C7 a retired version ends its hours in the mirror, and answers 410 after them", async (t) => {
  const at = await served(t);
  const { vendor, mirror } = at;
  let now = new Date();
  const sync = (): Promise<unknown> => mirror.sync(memorySource(vendor), { clock: { now: () => now } });
  await vendor.withdraw("1.0.0", { state: "retired", replacement: parseVersion("1.1.0") });
  await sync();
  assert.equal((await answerAt(at, debPath("1.0.0"))).status, 200, "who read the index a moment ago");
  now = new Date(now.getTime() + 2 * 3_600_000);
  await sync();
  const answer = await answerAt(at, debPath("1.0.0"));
  assert.deepEqual([answer.status, answer.phrase], [410, `Gone - ${product} 1.0.0 is no longer kept; use 1.1.0 instead`]);
  await stat(join(mirror.directory, "current", debPath("1.1.0")));
});

test("C7 an address in any characters is refused like any other, and the mirror goes on", async (t) => {
  const at = await served(t);
  for (const path of [
    `v2/${product}/manifests/%E2%82%AC`,
    `v2/${product}/manifests/a%0D%0Ab`,
    "releases/__proto__/constructor/x",
    `v2/__proto__/manifests/1.1.0`,
  ])
    assert.ok([400, 404].includes((await answerAt(at, path)).status), path);
  assert.equal((await answerAt(at, debPath("1.1.0"))).status, 200);
});

test("C7 C12 apt and curl at a mirror print why a version is gone, and after the next update apt takes the one before", async (t) => {
  if (!needClient(t, "mmdebstrap", "curl")) return;
  await withAptRoot(t, async (apt) => {
    const { vendor, mirror, address } = await served(t);
    const key = vendor.repositoryKey.publicKey;
    await apt.writeSource(aptSources({ baseUrl: address, product, channel: "stable" }, key));
    assert.equal((await apt.run(["update", "--error-on=any"])).exitCode, 0);
    await vendor.withdraw("1.1.0", why);
    await mirror.sync(memorySource(vendor));
    const refused = await apt.run(["install", "-y", product]);
    assert.notEqual(refused.exitCode, 0);
    assert.ok((refused.stdout + refused.stderr).includes(`410  Gone - ${text}`), refused.stdout + refused.stderr);
    const curl = await runCommand(["curl", "-sSi", `${address}/${debPath("1.1.0")}`], { timeoutMs: 30_000 });
    assert.ok(curl.stdout.startsWith(`HTTP/1.1 410 Gone - ${text}`), curl.stdout);
    assert.equal((await apt.run(["update", "--error-on=any"])).exitCode, 0);
    const policy = (await apt.command(["apt-cache", "policy", product])).stdout;
    assert.match(policy, /Candidate: 1\.0\.0/);
    assert.doesNotMatch(policy, /1\.1\.0/);
    assert.equal((await apt.run(["install", "-y", product])).exitCode, 0);
  });
});

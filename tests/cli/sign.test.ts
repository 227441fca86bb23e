/** `slipway keys`, `sign` and `verify artifact` as a release engineer and an operator type them, checked with gpg and minisign. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { formatChecksums } from "../../src/trust/checksums.ts";
import { needClient } from "../support/clients.ts";
import { type GpgFolder, gpgFolder } from "../support/gpg.ts";
import { type CommandEnd, runSlipway } from "../support/vendor.ts";

const artifact = Buffer.from("the package");
const artifactName = "acme_1.5.0_amd64.deb";
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

type Desk = { readonly folder: GpgFolder; readonly slipway: (...words: readonly string[]) => Promise<CommandEnd>; readonly dist: string };

/** A folder with keys made by `slipway keys new` and an unsigned release. */
async function desk(t: TestContext, env: Readonly<Record<string, string>> = {}): Promise<Desk> {
  const folder = await gpgFolder(t);
  const dist = join(folder.path, "dist", "1.5.0");
  await mkdir(dist, { recursive: true });
  const manifest = JSON.stringify({
    schema: 1,
    product: "acme",
    version: "1.5.0",
    tag: "v1.5.0",
    channel: "stable",
    sequence: 57,
    createdAt: "2026-03-01T11:00:00Z",
    artifacts: [{ name: artifactName, kind: "deb", size: artifact.length, sha256: sha256(artifact) }],
  });
  await writeFile(join(dist, artifactName), artifact);
  await writeFile(join(dist, "release.json"), manifest);
  await writeFile(
    join(dist, "SHA256SUMS"),
    formatChecksums([
      [artifactName, sha256(artifact)],
      ["release.json", sha256(Buffer.from(manifest))],
    ]),
  );
  const environment = { SLIPWAY_KEYS_DIR: join(folder.path, "keys"), NO_COLOR: "1", ...env };
  const slipway = (...words: readonly string[]): Promise<CommandEnd> => runSlipway(words, { cwd: folder.path, env: environment });
  return { folder, slipway, dist };
}

async function succeed(end: Promise<CommandEnd>): Promise<string> {
  const { exitCode, stdout, stderr } = await end;
  assert.equal(exitCode, 0, stdout + stderr);
  return stdout;
}

test("C14 J2 keys are made, a release is signed, gpg, minisign and sha256sum accept it, and so does slipway verify artifact", async (t) => {
  if (!needClient(t, "gpg", "minisign", "sha256sum")) return;
  const { folder, slipway, dist } = await desk(t);
  await succeed(slipway("keys", "new", "--no-passphrase", "--user-id", "Acme Releases <release@acme.example>"));
  await succeed(slipway("keys", "new", "--type", "minisign", "--no-passphrase"));
  await succeed(slipway("keys", "export", "release", "--format", "gpg", "--out", "acme.gpg"));
  await folder.write("acme.asc", await succeed(slipway("keys", "export", "release")));
  await folder.write("acme.pub", await succeed(slipway("keys", "export", "release", "--format", "minisign")));
  await succeed(slipway("sign", "dist/1.5.0", "--gpg", "key:release", "--minisign", "key:release"));
  assert.equal((await folder.gpg(["--import", "acme.asc"])).exitCode, 0);
  const signature = join(dist, "SHA256SUMS.sig");
  const verified = await folder.gpg(["--verify", signature, join(dist, "SHA256SUMS")]);
  assert.equal(verified.exitCode, 0, verified.stderr);
  const minisigned = await folder.run(["minisign", "-V", "-p", "acme.pub", "-m", join(dist, "SHA256SUMS")]);
  assert.equal(minisigned.exitCode, 0, minisigned.stderr);
  assert.match(minisigned.stdout, /product:acme version:1\.5\.0 seq:57 sums:sha256:/);
  assert.equal((await folder.run(["sh", "-c", "cd dist/1.5.0 && sha256sum -c SHA256SUMS --ignore-missing"])).exitCode, 0);
  const words = ["verify", "artifact", `dist/1.5.0/${artifactName}`, "--sums", "dist/1.5.0/SHA256SUMS", "--key", "acme.gpg,acme.pub"];
  const report = JSON.parse(await succeed(slipway(...words, "--product", "acme", "--version", "1.5.0", "--json"))) as {
    result: string;
    checks: { name: string }[];
  };
  assert.equal(report.result, "PASS");
  assert.deepEqual(
    report.checks.map((check) => check.name),
    ["minisign signature", "openpgp signature", "release", artifactName],
  );
  await writeFile(join(dist, artifactName), "the pbckage");
  const refused = await slipway(...words);
  assert.equal(refused.exitCode, 20);
  assert.match(refused.stdout, /FAIL {2}acme_1\.5\.0_amd64\.deb {2}hash_mismatch/);
  const otherVersion = await slipway(...words, "--version", "1.6.0");
  assert.equal(otherVersion.exitCode, 20);
  assert.match(otherVersion.stdout, /trusted_comment_mismatch/);
});

test("keys from variables and files, locked by a passphrase, sign; no private half and no passphrase is ever printed", async (t) => {
  const { folder, slipway, dist } = await desk(t, { SLIPWAY_KEY_PASSPHRASE: "correct horse" });
  const outputs = [await succeed(slipway("keys", "new", "ed", "--algorithm", "ed25519"))];
  const keys = join(folder.path, "keys");
  assert.deepEqual((await readdir(keys)).sort(), ["ed.openpgp.key", "ed.openpgp.pub", "ed.openpgp.rev"]);
  const secret = await readFile(join(keys, "ed.openpgp.key"), "utf8");
  const environment = { SLIPWAY_KEYS_DIR: join(folder.path, "none"), RELEASE_KEY: secret };
  const run = (env: Readonly<Record<string, string>>, ...words: readonly string[]): Promise<CommandEnd> =>
    runSlipway(words, { cwd: folder.path, env: { ...environment, ...env } });
  const locked = await run({}, "sign", dist, "--gpg", "env:RELEASE_KEY");
  assert.equal(locked.exitCode, 4);
  const wrong = await run({ SLIPWAY_KEY_PASSPHRASE: "battery staple" }, "sign", dist, "--gpg", "env:RELEASE_KEY");
  assert.equal(wrong.exitCode, 4);
  assert.deepEqual((await readdir(dist)).sort(), ["SHA256SUMS", artifactName, "release.json"]);
  await folder.write("passphrase", "correct horse\n");
  outputs.push(await succeed(run({}, "sign", dist, "--gpg", "env:RELEASE_KEY", "--passphrase-file", "passphrase", "--json")));
  const first = await readFile(join(dist, "SHA256SUMS.sig"));
  outputs.push(await succeed(run({}, "sign", dist, "--gpg", "file:keys/ed.openpgp.key", "--passphrase-file", "passphrase")));
  assert.deepEqual(await readFile(join(dist, "SHA256SUMS.sig")), first);
  outputs.push(await succeed(slipway("keys", "list")), await succeed(slipway("keys", "list", "--json")), await succeed(slipway("keys", "export", "ed")));
  for (const end of [locked, wrong]) outputs.push(end.stdout, end.stderr);
  for (const text of outputs) assert.doesNotMatch(text, /PRIVATE|correct horse|battery staple/);
});

test("a folder whose release.json is not the one in the sums is not signed", async (t) => {
  const { slipway, dist } = await desk(t);
  await succeed(slipway("keys", "new", "--type", "minisign", "--no-passphrase"));
  assert.equal((await slipway("sign", dist, "--minisign", "key:absent")).exitCode, 4);
  await writeFile(join(dist, "release.json"), "{}");
  assert.equal((await slipway("sign", dist, "--minisign", "key:release")).exitCode, 20);
  assert.equal((await slipway("sign", join(dist, ".."), "--minisign", "key:release")).exitCode, 3);
  assert.equal((await slipway("sign", dist)).exitCode, 2);
  assert.ok(!(await readdir(dist)).includes("SHA256SUMS.minisig"));
});

test("attack 2: verify artifact demands a signature for each kind of key that is given", async (t) => {
  const { folder, slipway } = await desk(t);
  await succeed(slipway("keys", "new", "--type", "minisign", "--no-passphrase"));
  await succeed(slipway("keys", "new", "ed", "--algorithm", "ed25519", "--no-passphrase"));
  const bareKey = (await succeed(slipway("keys", "export", "release"))).split("\n")[1] ?? "";
  await folder.write("acme.asc", await succeed(slipway("keys", "export", "ed")));
  await succeed(slipway("sign", "dist/1.5.0", "--minisign", "key:release"));
  const words = ["verify", "artifact", `dist/1.5.0/${artifactName}`, "--sums", "dist/1.5.0/SHA256SUMS", "--key"];
  await succeed(slipway(...words, bareKey));
  const unsigned = await slipway(...words, `${bareKey},acme.asc`);
  assert.equal(unsigned.exitCode, 20);
  assert.match(unsigned.stdout, /gpg_missing/);
  assert.equal((await slipway(...words, "acme.asc", "--fingerprint", "0".repeat(40))).exitCode, 2);
});

test("a new key needs a passphrase or the word that it shall have none", async (t) => {
  const { slipway } = await desk(t);
  const end = await slipway("keys", "new");
  assert.equal(end.exitCode, 4);
  assert.match(end.stderr, /--no-passphrase/);
});

/** The rotation of a release key as its ceremony: standby from day one, N-1, N, N+1 through a real server, judged by minisign 0.11 and 0.12. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { findProgram, needClient } from "../support/clients.ts";
import { debianTool } from "../support/debian-tool.ts";
import { acmeBinaries, acmeProduct, createVendor, type Vendor } from "../support/vendor.ts";

const recipe = (sign: string, more = ""): string => `${acmeProduct}${acmeBinaries}sign: { ${sign} }
${more}`;

type KeySetFile = { epoch: number; keys: { name: string; id: string; publicKey: string; role: string; notAfterSequence?: number }[] };

async function keySet(vendor: Vendor): Promise<KeySetFile> {
  return JSON.parse(await readFile(join(vendor.folder, "slipway-keys.json"), "utf8")) as KeySetFile;
}

/** Each minisign at hand: 0.11 of this machine, 0.12 of trixie. */
async function minisigns(t: TestContext): Promise<readonly string[]> {
  if (!needClient(t, "minisign")) return [];
  const newer = await debianTool(t, { release: "trixie", name: "minisign", program: "usr/bin/minisign" });
  return [findProgram("minisign") ?? "minisign", ...(newer === undefined ? [] : [newer])];
}

async function accepts(program: string, publicKey: string, folder: string, signature: string): Promise<boolean> {
  return promisify(execFile)(program, ["-V", "-P", publicKey, "-m", join(folder, "SHA256SUMS"), "-x", join(folder, signature)]).then(
    () => true,
    () => false,
  );
}

test("J10 the key rotation of the documentation, step by step, with minisign 0.11 and 0.12 and the server's gate", async (t) => {
  const programs = await minisigns(t);
  if (programs.length === 0) return;
  const vendor = await createVendor(t, recipe("minisign: key:updates, keys: slipway-keys.json"));
  const write = (text: string): Promise<void> => writeFile(join(vendor.folder, "slipway.yaml"), text);
  const epoch = (seconds: number): void => void (vendor.env["SOURCE_DATE_EPOCH"] = String(seconds));
  const noPassphrase = ["--no-passphrase"];
  // Step 0: a key and its standby, from day one.
  await vendor.result(["keys", "new", "updates", "--type", "minisign", "--standby", ...noPassphrase]);
  const [k1, k2] = (await keySet(vendor)).keys;
  assert.ok(k1 !== undefined && k2 !== undefined);
  assert.deepEqual([k1.name, k1.role, k2.name, k2.role], ["updates", "active", "updates-2", "standby"]);
  await vendor.serve();
  epoch(1_767_225_600);
  await vendor.release("1.4.2");
  // Steps 1 and 2: the old key introduces the new one.
  await vendor.result(["keys", "rotate", ...noPassphrase]);
  assert.deepEqual(
    (await keySet(vendor)).keys.map((key) => [key.name, key.role]),
    [
      ["updates", "retiring"],
      ["updates-2", "active"],
      ["updates-3", "standby"],
    ],
  );
  epoch(1_767_312_000);
  await vendor.writeInput("1.5.0");
  const early = await vendor.run(["build", "--version", "1.5.0", "--json"]);
  assert.match(early.stdout + early.stderr, /rotation_order/, "without the successor's own signature it is not built");
  // The gate: N+1, signed by K2 alone, before N is published.
  await write(recipe("minisign: key:updates-2"));
  await vendor.build("1.6.0");
  await vendor.result(["publish", "dist/1.6.0"]);
  const refused = await vendor.run(["release", "publish", "v1.6.0", "--product", "acme", "--json"]);
  assert.notEqual(refused.exitCode, 0);
  assert.match(refused.stdout + refused.stderr, /minisig_key_unknown/);
  await write(recipe("minisign: key:updates, minisign_next: key:updates-2, keys: slipway-keys.json", "upgrade: { waypoint: true }\n"));
  await vendor.release("1.5.0");
  const n = join(vendor.folder, "dist/1.5.0");
  const published = await vendor.result(["keys", "rotate", "--published", "dist/1.5.0"]);
  assert.equal(published["epoch"], 2);
  assert.equal((await keySet(vendor)).keys[0]?.notAfterSequence, 1_767_312_000);
  // Step 4: N+1 by the new key alone; the server takes it now.
  await write(recipe("minisign: key:updates-2, keys: slipway-keys.json"));
  epoch(1_767_398_400);
  await vendor.release("1.7.0");
  await write(recipe("minisign: key:updates, keys: slipway-keys.json"));
  const late = await vendor.run(["build", "--version", "1.8.0", "--json"]);
  assert.match(late.stdout + late.stderr, /rotation_order|source_missing/);
  for (const program of programs) {
    const [before, after] = [join(vendor.folder, "dist/1.4.2"), join(vendor.folder, "dist/1.7.0")];
    assert.deepEqual(
      [await accepts(program, k1.publicKey, before, "SHA256SUMS.minisig"), await accepts(program, k2.publicKey, before, "SHA256SUMS.minisig")],
      [true, false],
    );
    assert.deepEqual(
      [await accepts(program, k1.publicKey, n, "SHA256SUMS.minisig"), await accepts(program, k2.publicKey, n, `SHA256SUMS.${k2.id}.minisig`)],
      [true, true],
    );
    assert.deepEqual(
      [await accepts(program, k1.publicKey, after, "SHA256SUMS.minisig"), await accepts(program, k2.publicKey, after, "SHA256SUMS.minisig")],
      [false, true],
    );
  }
});

test("keys check names what will go wrong, and keys rotate --compromised replaces a stolen key at once", async (t) => {
  const vendor = await createVendor(t, recipe("minisign: key:updates, keys: slipway-keys.json"));
  await vendor.result(["keys", "new", "updates", "--type", "minisign", "--standby", "--no-passphrase"]);
  const beside = await vendor.run(["keys", "check"]);
  assert.equal(beside.exitCode, 4);
  assert.match(beside.stdout, /who steals one steals both/);
  const refused = await vendor.run(["keys", "rotate", "--compromised", "--no-passphrase"]);
  assert.equal(refused.exitCode, 2, refused.stderr);
  await vendor.result(["keys", "rotate", "--compromised", "--last-sequence", "57", "--no-passphrase"]);
  const set = await keySet(vendor);
  assert.deepEqual(
    [set.epoch, set.keys.map((key) => [key.role, key.notAfterSequence])],
    [
      2,
      [
        ["retired", 57],
        ["active", undefined],
        ["standby", undefined],
      ],
    ],
  );
  const only = await vendor.run(["keys", "revoke", "updates-2", "--last-sequence", "60"]);
  assert.equal(only.exitCode, 2, "the only active key is rotated, not revoked");
  await vendor.result(["keys", "revoke", "updates-3", "--last-sequence", "0"]);
  const alone = await vendor.run(["keys", "check"]);
  assert.match(alone.stdout, /no standby key/);
});

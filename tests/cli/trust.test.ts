/** `slipway trust show|import|check` on a customer's machine. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { formatMinisignPublicKey, generateMinisignKey } from "../../src/trust/minisign-key.ts";
import { type CommandEnd, runSlipway } from "../support/vendor.ts";
import { makeSite, startVendor } from "../updater/support.ts";

test("J10 an air-gapped machine learns a release's key set without installing it, and shows whom it trusts since when", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  const next = generateMinisignKey();
  const release = await vendor.release("1.5.0", {
    changeManifest: (manifest) => ({
      ...manifest,
      trust: {
        epoch: 2,
        keys: [
          { kind: "minisign", id: vendor.key.keyId, publicKey: vendor.publicKey, role: "retired", notAfterSequence: manifest.sequence },
          { kind: "minisign", id: next.keyId, publicKey: formatMinisignPublicKey(next), role: "active" },
        ],
      },
    }),
  });
  const carried = join(site.folder, "carried");
  await mkdir(carried);
  for (const [name, bytes] of release) await writeFile(join(carried, name), bytes);
  const slipway = (...words: readonly string[]): Promise<CommandEnd> => runSlipway(words, { cwd: site.folder, env: { NO_COLOR: "1" } });
  const imported = await slipway("trust", "import", "carried", "--installation", site.file);
  assert.equal(imported.exitCode, 0, imported.stderr);
  assert.match(imported.stdout, /learnt the key set of epoch 2 from 1\.5\.0/);
  const shown = await slipway("trust", "show", "--installation", site.file);
  assert.equal(shown.exitCode, 0, shown.stderr);
  assert.match(shown.stdout, new RegExp(`${vendor.key.keyId} +retired after sequence`));
  assert.match(shown.stdout, new RegExp(`${next.keyId} +active`));
  // One that somebody else signed teaches nothing.
  await writeFile(join(carried, "SHA256SUMS.minisig"), (await vendor.release("1.6.0", { key: generateMinisignKey() })).get("SHA256SUMS.minisig") ?? "");
  const refused = await slipway("trust", "import", "carried", "--installation", site.file);
  assert.equal(refused.exitCode, 20);
  const checked = await slipway("trust", "check", site.file);
  assert.equal(checked.exitCode, 0, checked.stderr);
  await writeFile(join(site.folder, "empty.yaml"), "product: toy\nminisign: []\n");
  assert.equal((await slipway("trust", "check", "empty.yaml")).exitCode, 2);
});

/** What a machine remembers of key sets, as values: more keys, ends for some, more required, never less. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { keySetSchema, type KeySetKey } from "../../src/model/key-set.ts";
import { createTrustPolicy } from "../../src/trust/keyring.ts";
import { formatMinisignPublicKey, generateMinisignKey } from "../../src/trust/minisign-key.ts";
import { type GeneratedOpenpgpKey, generateOpenpgpKey } from "../../src/trust/openpgp.ts";
import { type TrustMemory, withMemory } from "../../src/trust/trust-memory.ts";

const [k1, k2] = [generateMinisignKey(), generateMinisignKey()];
const minisign = (key: typeof k1, role: KeySetKey["role"], notAfterSequence?: number): KeySetKey => ({
  kind: "minisign",
  id: key.keyId,
  publicKey: formatMinisignPublicKey(key),
  role,
  ...(notAfterSequence === undefined ? {} : { notAfterSequence }),
});
let gpg: GeneratedOpenpgpKey;
before(async () => {
  gpg = await generateOpenpgpKey({ userId: "Acme", algorithm: "ed25519", now: new Date("2026-01-01") });
});

const memoryOf = (keys: readonly KeySetKey[], require: TrustMemory["require"]): TrustMemory => ({
  set: { epoch: 2, keys: [...keys] },
  version: "1.5.0",
  sequence: 57,
  require,
  retired: [],
});
const source = { minisign: [formatMinisignPublicKey(k1)], require: ["minisign"] } as const;

test("keys of the memory count beside those of the file, and a retired one has its end", async () => {
  const memory = memoryOf([minisign(k1, "retired", 57), minisign(k2, "active")], []);
  const policy = await createTrustPolicy(withMemory(source, memory).source);
  assert.deepEqual(policy.minisign.map(({ keyId }) => keyId).toSorted(), [k1.keyId, k2.keyId].toSorted());
  assert.deepEqual([...policy.lastSequences], [[k1.keyId, 57]]);
});

test("what was required once is required, as soon as there is something to check it with", async () => {
  const demanding = memoryOf([minisign(k1, "active")], ["openpgp", "sigstore"]);
  assert.deepEqual(withMemory(source, demanding).unmet, ["openpgp", "sigstore"]);
  assert.deepEqual(withMemory(source, demanding).source.require, ["minisign"]);
  const key: KeySetKey = { kind: "openpgp", id: gpg.fingerprint, publicKey: gpg.publicKey, role: "active" };
  const known = withMemory(source, memoryOf([minisign(k1, "active"), key], ["openpgp"]));
  assert.deepEqual([known.unmet, known.source.require], [[], ["minisign", "openpgp"]]);
  const policy = await createTrustPolicy(known.source);
  assert.deepEqual([policy.require, policy.openpgp.keys.length], [["minisign", "openpgp"], 1]);
});

test("without a memory the file's policy stands as it is", () => {
  assert.deepEqual(withMemory(source, undefined), { source, unmet: [] });
});

for (const [what, set] of [
  ["without an active key", { epoch: 1, keys: [minisign(k1, "standby")] }],
  ["with a key twice", { epoch: 1, keys: [minisign(k1, "active"), minisign(k1, "standby")] }],
  ["with a retired key without an end", { epoch: 1, keys: [minisign(k1, "retired"), minisign(k2, "active")] }],
  ["with an active key that has an end", { epoch: 1, keys: [minisign(k1, "active", 5)] }],
  ["of epoch 0", { epoch: 0, keys: [minisign(k1, "active")] }],
  ["with a key by a made-up id", { epoch: 1, keys: [{ ...minisign(k1, "active"), id: "../../etc" }] }],
] as const) {
  test(`a key set ${what} is none`, () => {
    assert.equal(keySetSchema.safeParse(set).success, false);
  });
}

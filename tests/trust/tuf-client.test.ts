import assert from "node:assert/strict";
import { test } from "node:test";
import { SlipwayError } from "../../src/model/errors.ts";
import { canonicalJson } from "../../src/trust/canonical-json.ts";
import {
  acceptSnapshot,
  acceptTargets,
  acceptTimestamp,
  delegatesFor,
  nextRoot,
  raiseFloor,
  requireCurrentRoot,
  trustRoot,
  type TufTrust,
} from "../../src/trust/tuf-client.ts";
import { formatTufSecretKey, generateTufKey, isTufKeyLocked, readTufSigningKey } from "../../src/trust/tuf-key.ts";
import { addTufSignature, joinTufSignatures, readTufFile, signTuf, tufLimits, type TufSigned } from "../../src/trust/tuf-metadata.ts";
import { goodSignatures } from "../../src/trust/tuf-signatures.ts";
import { newKey, TestTuf } from "../support/tuf-repository.ts";

const now = new Date("2026-06-01T12:00:00Z");
const day = 86_400_000;
const later = (days: number): Date => new Date(now.getTime() + days * day);
const vendor = (): TestTuf => new TestTuf({ product: "acme", now });
const fileOf = (tuf: TestTuf, name: string): Uint8Array => {
  const bytes = tuf.files.get(name);
  assert.ok(bytes, name);
  return bytes;
};
const refuses = (code: string, act: () => unknown): void => {
  assert.throws(act, (error) => error instanceof SlipwayError && error.code === code, code);
};

/** A whole refresh of what the vendor serves. */
function refreshed(tuf: TestTuf, from: TufTrust = trustRoot(tuf.firstRoot), at: Date = now): TufTrust {
  let trust = from;
  while (tuf.files.has(`${trust.root.signed.version + 1}.root.json`)) trust = nextRoot(trust, fileOf(tuf, `${trust.root.signed.version + 1}.root.json`));
  requireCurrentRoot(trust, { now: at });
  trust = acceptTimestamp(trust, fileOf(tuf, "timestamp.json"), { now: at });
  trust = acceptSnapshot(trust, fileOf(tuf, `${tuf.versions.snapshot}.snapshot.json`), { now: at });
  trust = acceptTargets(trust, fileOf(tuf, `${tuf.versions.targets}.targets.json`), { role: "targets", delegator: "root", now: at });
  return acceptTargets(trust, fileOf(tuf, `${tuf.versions.channel}.${tuf.role}.json`), { role: tuf.role, delegator: "targets", now: at });
}

test("a release that is listed is found through its channel's terminating delegation, and nothing else is", () => {
  const tuf = vendor();
  tuf.release("1.4.2", 57, new Map([["release.json", Buffer.from("{}")]]));
  const trust = refreshed(tuf);
  assert.deepEqual(delegatesFor(trust, "targets", "acme/stable/1.4.2/release.json"), [{ role: "acme-stable", isTerminating: true }]);
  assert.deepEqual(delegatesFor(trust, "targets", "acme/preview/1.4.2/release.json"), []);
  assert.deepEqual(delegatesFor(trust, "targets", "acme/stable/1.4.2/deep/release.json"), []);
  const target = trust.targets.get("acme-stable")?.signed.targets["acme/stable/1.4.2/release.json"];
  assert.equal(target?.length, 2);
  assert.deepEqual(target?.custom, { version: "1.4.2", sequence: 57 });
});

test("attack 25: a root is followed only with enough old and enough new signatures, each counted once, one version at a time", () => {
  const tuf = vendor();
  const trust = trustRoot(tuf.firstRoot);
  const [first, second] = tuf.rootKeys;
  assert.ok(first && second);
  const fresh = [newKey(), newKey()];
  tuf.rootKeys = [first, ...fresh];
  const file = readTufFile("root", tuf.root([first, fresh[0] ?? first]));
  refuses("root_rotation_invalid", () => nextRoot(trust, file.bytes)); // one of the old keys
  const whole = addTufSignature(file, second);
  assert.equal(nextRoot(trust, whole).root.signed.version, 2);
  const onlyOld = joinTufSignatures([readTufFile("root", signTuf(file.signed, [first, second]))]);
  refuses("root_rotation_invalid", () => nextRoot(trust, onlyOld));
  // The same key twice: as two signatures of one id, and as one key under two ids.
  const twice = JSON.parse(Buffer.from(signTuf(file.signed, [first])).toString()) as { signatures: unknown[]; signed: TufSigned<"root"> };
  refuses("root_rotation_invalid", () => nextRoot(trust, Buffer.from(JSON.stringify({ ...twice, signatures: [...twice.signatures, ...twice.signatures] }))));
  const alias = "0".repeat(64);
  const aliased = readTufFile(
    "root",
    Buffer.from(JSON.stringify({ ...twice, signatures: [...twice.signatures, { ...(twice.signatures[0] as object), keyid: alias }] })),
  );
  const keys = { ...aliased.signed.keys, [alias]: first.json };
  assert.equal(goodSignatures(aliased, { keyids: [first.keyId, alias], threshold: 2 }, keys).length, 1);
  tuf.root();
  refuses("root_rotation_invalid", () => nextRoot(trust, fileOf(tuf, "3.root.json"))); // version 2 skipped
});

test("attacks 22 and 24: an older timestamp, and an older snapshot or targets under a new timestamp, are refused", () => {
  const tuf = vendor();
  const old = { timestamp: fileOf(tuf, "timestamp.json"), snapshot: fileOf(tuf, "1.snapshot.json"), channel: fileOf(tuf, "1.acme-stable.json") };
  tuf.release("1.0.0", 1, new Map([["release.json", Buffer.from("one")]]));
  const trust = refreshed(tuf);
  refuses("metadata_rollback", () => acceptTimestamp(trust, old.timestamp, { now }));
  refuses("metadata_mix", () => acceptSnapshot(trust, old.snapshot, { now }));
  refuses("metadata_mix", () => acceptTargets(trust, old.channel, { role: "acme-stable", delegator: "targets", now }));
});

test("other bytes under the announced version are metadata_mix, well signed or not", () => {
  const tuf = vendor();
  const timestamp = acceptTimestamp(trustRoot(tuf.firstRoot), fileOf(tuf, "timestamp.json"), { now });
  const snapshot = readTufFile("snapshot", fileOf(tuf, "1.snapshot.json"));
  const other = signTuf({ ...snapshot.signed, expires: "2026-06-07T00:00:00Z" }, [tuf.online]);
  refuses("metadata_mix", () => acceptSnapshot(timestamp, other, { now }));
  refuses("metadata_mix", () => acceptSnapshot(timestamp, Buffer.concat([snapshot.bytes, Buffer.from("\n")]), { now }));
  const trust = acceptSnapshot(timestamp, snapshot.bytes, { now });
  const targets = readTufFile("targets", fileOf(tuf, "1.targets.json"));
  const forged = signTuf({ ...targets.signed, expires: "2026-06-07T00:00:00Z" }, tuf.targetsKeys);
  refuses("metadata_mix", () => acceptTargets(trust, forged, { role: "targets", delegator: "root", now }));
});

test("a snapshot of the server that takes a role back or drops it is refused, whoever signed it", () => {
  const tuf = vendor();
  tuf.release("1.0.0", 1, new Map([["release.json", Buffer.from("one")]]));
  const trust = refreshed(tuf);
  tuf.versions.channel = 1; // the server's key is stolen: it signs a snapshot with the channel as it was
  tuf.snapshot();
  const next = acceptTimestamp(trust, fileOf(tuf, "timestamp.json"), { now });
  refuses("metadata_rollback", () => acceptSnapshot(next, fileOf(tuf, `${tuf.versions.snapshot}.snapshot.json`), { now }));
});

test("attacks 23 and 29: what is expired is refused, and after a day it is called a freeze; a root too", () => {
  const tuf = vendor();
  const trust = trustRoot(tuf.firstRoot);
  refuses("metadata_expired", () => acceptTimestamp(trust, fileOf(tuf, "timestamp.json"), { now: later(1) }));
  const detail = (at: Date): string | undefined => {
    try {
      acceptTimestamp(trust, fileOf(tuf, "timestamp.json"), { now: at });
      return "accepted";
    } catch (error) {
      return error instanceof SlipwayError ? error.detail : "other";
    }
  };
  assert.equal(detail(new Date(later(1).getTime() - 1000)), "accepted");
  assert.equal(detail(later(1)), "expired");
  assert.equal(detail(later(3)), "frozen");
  refuses("metadata_expired", () => requireCurrentRoot(trust, { now: later(3650) }));
});

test("attack 30: versions that were driven to the end by a stolen server key are left behind by a root with a new one", () => {
  const tuf = vendor();
  tuf.versions.timestamp = 2 ** 31;
  tuf.versions.snapshot = 2 ** 31;
  tuf.snapshot();
  const hurt = refreshed(tuf);
  const floor = raiseFloor(hurt, undefined);
  tuf.online = newKey();
  tuf.root();
  tuf.versions.timestamp = 4;
  tuf.versions.snapshot = 4;
  tuf.snapshot();
  const healed = refreshed(tuf, hurt);
  assert.equal(healed.timestamp?.signed.version, 5);
  // The memory of the old versions does not stand in the way, and goes on with the new ones.
  let trust = nextRoot(trustRoot(tuf.firstRoot), fileOf(tuf, "2.root.json"));
  trust = acceptTimestamp(trust, fileOf(tuf, "timestamp.json"), { now, floor });
  assert.equal(raiseFloor(trust, floor).timestampVersion, 5);
});

test("what was seen is remembered without the files: an older timestamp, and a withheld root, are refused by the floor alone", () => {
  const tuf = vendor();
  const old = fileOf(tuf, "timestamp.json");
  tuf.list();
  tuf.root();
  const floor = raiseFloor(refreshed(tuf), undefined);
  assert.deepEqual(floor.roles, { "acme-stable.json": 2, "targets.json": 1 });
  refuses("metadata_rollback", () => acceptTimestamp(trustRoot(tuf.firstRoot), old, { now, floor }));
  refuses("metadata_rollback", () => requireCurrentRoot(trustRoot(tuf.firstRoot), { now, floor }));
});

test("attack 75: neither the offline repository's timestamp nor its root, both good, passes for the online one", () => {
  const tuf = vendor();
  const offline = new TestTuf({ product: "acme", now, repository: "offline", like: tuf });
  offline.root();
  const trust = trustRoot(tuf.firstRoot);
  refuses("metadata_threshold", () => acceptTimestamp(trust, fileOf(offline, "timestamp.json"), { now }));
  refuses("root_rotation_invalid", () => nextRoot(trust, fileOf(offline, "2.root.json")));
});

test("a role signed by another channel's key, by the server's key or by nobody is refused", () => {
  const tuf = vendor();
  tuf.targetsKeys = [tuf.online];
  tuf.list();
  let trust = acceptTimestamp(trustRoot(tuf.firstRoot), fileOf(tuf, "timestamp.json"), { now });
  trust = acceptSnapshot(trust, fileOf(tuf, "2.snapshot.json"), { now });
  trust = acceptTargets(trust, fileOf(tuf, "1.targets.json"), { role: "targets", delegator: "root", now });
  refuses("metadata_threshold", () => acceptTargets(trust, fileOf(tuf, "2.acme-stable.json"), { role: "acme-stable", delegator: "targets", now }));
  refuses("metadata_mix", () => acceptTargets(trust, fileOf(tuf, "2.acme-stable.json"), { role: "acme-preview", delegator: "targets", now }));
});

test("malformed metadata is refused before anything of it is used", () => {
  const tuf = vendor();
  const good = JSON.parse(Buffer.from(tuf.firstRoot).toString()) as { signed: Record<string, unknown>; signatures: unknown[] };
  const crooked: readonly (readonly [string, unknown])[] = [
    ["no object", 4],
    ["no signatures", { signed: good.signed }],
    ["another type", { ...good, signed: { ...good.signed, _type: "targets" } }],
    ["version 0", { ...good, signed: { ...good.signed, version: 0 } }],
    ["a fraction as version", { ...good, signed: { ...good.signed, version: 1.5 } }],
    ["a version that no number holds", { ...good, signed: { ...good.signed, version: 2 ** 60 } }],
    ["specification 2", { ...good, signed: { ...good.signed, spec_version: "2.0.0" } }],
    ["a local date", { ...good, signed: { ...good.signed, expires: "2030-01-01" } }],
    ["no roles", { ...good, signed: { ...good.signed, roles: {} } }],
  ];
  for (const [name, value] of crooked) {
    assert.throws(() => readTufFile("root", Buffer.from(JSON.stringify(value))), /root metadata/, name);
  }
  refuses("metadata_invalid", () => readTufFile("root", Buffer.from("<html>")));
  refuses("metadata_invalid", () => readTufFile("root", new Uint8Array()));
  refuses("metadata_invalid", () => readTufFile("root", Buffer.from([0xff, 0xfe])));
  refuses("metadata_invalid", () => readTufFile("timestamp", Buffer.alloc(tufLimits.timestamp + 1, " ")));
  const deep = `${"[".repeat(5_000)}${"]".repeat(5_000)}`;
  const nested = Buffer.from(JSON.stringify(good).replace('"_type":"root"', `"_type":"root","x":${deep}`));
  refuses("metadata_threshold", () => trustRoot(nested)); // too deep for a canonical form: no signature holds
});

test("a targets file of the largest size is read in a few seconds, however many targets it lists", () => {
  const targets = Object.fromEntries(
    Array.from({ length: 10_000 }, (_, index) => [
      `acme/stable/1.0.${index}/release.json`,
      { length: 1, hashes: { sha256: "0".repeat(64) }, custom: { sequence: index } },
    ]),
  );
  const key = newKey();
  const bytes = signTuf({ _type: "targets", spec_version: "1.0.31", version: 1, expires: "2030-01-01T00:00:00Z", targets }, [key]);
  assert.ok(bytes.length > 1_500_000);
  const started = performance.now();
  const file = readTufFile("targets", bytes);
  assert.equal(goodSignatures(file, { keyids: [key.keyId], threshold: 1 }, { [key.keyId]: key.json }).length, 1);
  assert.ok(performance.now() - started < 10_000);
});

test("keys: PEM with and without a passphrase; the id is that of securesystemslib; canonical JSON sorts and escapes as OLPC says", () => {
  const made = generateTufKey();
  const plain = formatTufSecretKey(made);
  assert.equal(isTufKeyLocked(plain), false);
  assert.equal(readTufSigningKey(plain).keyId, made.keyId);
  const locked = formatTufSecretKey(made, "open sesame");
  assert.equal(isTufKeyLocked(locked), true);
  refuses("key_locked", () => readTufSigningKey(locked));
  refuses("key_locked", () => readTufSigningKey(locked, "wrong"));
  assert.equal(readTufSigningKey(locked, "open sesame").keyId, made.keyId);
  refuses("key_invalid", () => readTufSigningKey("nonsense"));
  assert.equal(canonicalJson({ b: [1, true, null], a: 'x"\\\n', é: -3 }), '{"a":"x\\"\\\\\n","b":[1,true,null],"é":-3}');
  refuses("format_invalid", () => canonicalJson({ a: 1.5 }));
});

test("attack 25: two signatures of one key, and metadata longer than its kind may be, are metadata_invalid", () => {
  const { firstRoot } = vendor();
  const twice = JSON.parse(Buffer.from(firstRoot).toString("utf8")) as { signatures: unknown[] };
  twice.signatures.push(twice.signatures[0]);
  refuses("metadata_invalid", () => readTufFile("root", Buffer.from(JSON.stringify(twice))));
  refuses("metadata_invalid", () => readTufFile("root", Buffer.concat([firstRoot, Buffer.alloc(tufLimits.root, " ")])));
});

test("attack 23: the same timestamp shown again after its end, and a snapshot after its end, are metadata_expired", () => {
  const tuf = vendor();
  const trust = refreshed(tuf);
  refuses("metadata_expired", () => acceptTimestamp(trust, fileOf(tuf, "timestamp.json"), { now: later(2) }));
  const kept = acceptTimestamp(trustRoot(tuf.firstRoot), fileOf(tuf, "timestamp.json"), { now: later(8), isKept: true });
  refuses("metadata_expired", () => acceptSnapshot(kept, fileOf(tuf, `${tuf.versions.snapshot}.snapshot.json`), { now: later(8) }));
});

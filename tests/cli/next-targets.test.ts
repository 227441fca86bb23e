/** What a channel lists next: a server that lies narrows a rollout and drops a release, and adds and widens nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { nextTargets, type Targets } from "../../src/cli/next-targets.ts";
import { nextRollout } from "../../src/cli/signed-rollouts.ts";
import type { SignedRollout } from "../../src/repositories/tuf.ts";

const server = (given: { percent?: number; machines?: number; bypass?: boolean } = {}) => ({ percent: 100, machines: 100, bypass: false, ...given });
const signed: SignedRollout = { salt: "s", percent: 25 };

test("a rollout is narrowed by the server's word, widened by the operator's alone, and keeps its salt", () => {
  const cases: readonly (readonly [string, ReturnType<typeof nextRollout>, SignedRollout | undefined])[] = [
    ["as it was", nextRollout(signed, server({ machines: 25 })), signed],
    ["widened by the server", nextRollout(signed, server()), signed],
    ["past every rollout by the server", nextRollout(signed, server({ bypass: true })), signed],
    ["narrowed by the server", nextRollout(signed, server({ machines: 5 })), { salt: "s", percent: 5 }],
    ["halted by the server", nextRollout(signed, server({ percent: 0 })), { salt: "s", percent: 25, halted: true }],
    ["no longer halted, says the server", nextRollout({ ...signed, halted: true }, server({ machines: 25 })), { ...signed, halted: true }],
    ["halted, and the operator goes on", nextRollout({ ...signed, halted: true }, server(), { percent: 50 }), signed],
    ["widened by the operator, and the server says less", nextRollout(signed, server({ machines: 1 }), { machines: 50 }), { salt: "s", percent: 50 }],
    ["for all, by the operator", nextRollout(signed, server({ machines: 1 }), { machines: 100 }), undefined],
    ["a security release", nextRollout({ ...signed, halted: true }, server(), { bypass: true, percent: 100 }), undefined],
    ["whatever the server has", nextRollout({ ...signed, halted: true }, server({ machines: 60 }), "any"), { salt: "s", percent: 60 }],
    ["for all from the beginning", nextRollout(undefined, server()), undefined],
  ];
  for (const [name, got, expected] of cases) assert.deepEqual(got, expected, name);
  assert.match(nextRollout(undefined, server({ machines: 10 }))?.salt ?? "", /^[0-9a-f]{32}$/);
});

const entry = (version: string, custom: Record<string, unknown> = {}) => ({
  length: 1,
  hashes: { sha256: "0".repeat(64) },
  custom: { version, sequence: 1, ...custom },
});

function listed(channel: string, version: string, custom?: Record<string, unknown>): Targets {
  const at = `acme/${channel}/${version}`;
  return { [`${at}/release.json`]: entry(version, custom), [`${at}/acme.tar.gz`]: entry(version) };
}

test("71 of a release that left, nothing stays but the description of a waypoint; a withdrawn one is none; what nobody signed is not listed", () => {
  const entries = new Map([
    [
      "stable",
      {
        targets: {
          ...listed("stable", "1.0.0", { waypoint: true }),
          ...listed("stable", "1.1.0"),
          ...listed("stable", "1.2.0", { waypoint: true }),
          ...listed("stable", "1.3.0", { rollout: signed }),
        },
      },
    ],
    ["preview", { targets: listed("preview", "1.4.0", { rollout: { salt: "p", percent: 1 } }) }],
  ]);
  const channels = [{ name: "stable", promotedAt: "2026-01-01T00:00:00Z", ...server() }];
  const releases = [
    { version: "1.0.0", state: "retired" as const, channels: [] },
    { version: "1.1.0", state: "retired" as const, channels: [] },
    { version: "1.2.0", state: "withdrawn" as const, channels: [] },
    { version: "1.3.0", state: "published" as const, channels },
    { version: "1.4.0", state: "published" as const, channels },
    { version: "9.9.9", state: "published" as const, channels },
  ];
  const next = nextTargets({ product: "acme", channel: "stable", entries, releases, wordOn: () => undefined });
  assert.deepEqual(Object.keys(next), [
    "acme/stable/1.0.0/release.json",
    "acme/stable/1.3.0/release.json",
    "acme/stable/1.3.0/acme.tar.gz",
    "acme/stable/1.4.0/release.json",
    "acme/stable/1.4.0/acme.tar.gz",
  ]);
  assert.deepEqual(next["acme/stable/1.3.0/release.json"]?.custom?.["rollout"], signed);
  assert.equal(next["acme/stable/1.4.0/release.json"]?.custom?.["rollout"], undefined, "how far preview had it says nothing about stable");
});

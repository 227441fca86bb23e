/** The planner: tables of what the three source documents say, and properties over all small histories. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { SlipwayError } from "../../src/model/errors.ts";
import type { Compat } from "../../src/model/upgrade-contract.ts";
import { compareVersions, isStable, parseVersion, type Version } from "../../src/model/version.ts";
import { type KnownRelease, mayStep } from "../../src/model/upgrade-path.ts";
import { findPath } from "../../src/updater/path.ts";

const release = (version: string, compat?: Compat): KnownRelease => ({ version: parseVersion(version), ...(compat === undefined ? {} : { compat }) });
const nextLine: Compat = { upgradeFrom: "previous-line" };

type Row = {
  readonly name: string;
  readonly from: KnownRelease;
  readonly to: string;
  readonly releases: readonly KnownRelease[];
  readonly retired?: readonly KnownRelease[];
  /** The hops, or the code of the refusal. */
  readonly path: readonly string[] | string;
};

const rows: readonly Row[] = [
  {
    name: "C18 without a promise the way is direct, however old the installation",
    from: release("1.0.0"),
    to: "2.3.0",
    releases: [release("2.3.0"), release("2.2.0")],
    path: ["2.3.0"],
  },
  {
    name: "70 K4 N-2 to N goes over N-1",
    from: release("1.3.2"),
    to: "1.5.0",
    releases: [release("1.5.0", nextLine), release("1.4.1", nextLine), release("1.4.2", nextLine)],
    path: ["1.4.2", "1.5.0"],
  },
  {
    name: "K1 within a line and to the next one it is one step",
    from: release("1.4.0"),
    to: "1.5.3",
    releases: [release("1.5.3", nextLine), release("1.4.2", nextLine)],
    path: ["1.5.3"],
  },
  {
    name: "K4 several lines are several steps, each to the newest of its line",
    from: release("1.1.0"),
    to: "1.4.0",
    releases: ["1.2.0", "1.2.5", "1.3.0", "1.3.1", "1.4.0"].map((version) => release(version, nextLine)),
    path: ["1.2.5", "1.3.1", "1.4.0"],
  },
  {
    name: "K4 a range decides, too",
    from: release("1.2.0"),
    to: "2.0.0",
    releases: [release("2.0.0", { upgradeFrom: ">=1.9.0 <2.0.0" }), release("1.9.4"), release("1.5.0")],
    path: ["1.9.4", "2.0.0"],
  },
  {
    name: "K3 a release that does not read the present format is reached over one that does",
    from: release("1.0.0", { epochs: { state: { read: [1], write: 1 } } }),
    to: "3.0.0",
    releases: [release("3.0.0", { epochs: { state: { read: [2, 3], write: 3 } } }), release("2.0.0", { epochs: { state: { read: [1, 2], write: 2 } } })],
    path: ["2.0.0", "3.0.0"],
  },
  {
    name: "a waypoint is not passed by",
    from: release("1.0.0"),
    to: "1.3.0",
    releases: [release("1.1.0", { waypoint: true }), release("1.2.0"), release("1.3.0")],
    path: ["1.1.0", "1.3.0"],
  },
  {
    name: "of two ways of one length the one over the waypoint",
    from: release("1.0.0"),
    to: "2.0.0",
    releases: [release("2.0.0", { upgradeFrom: ">=1.1.0" }), release("1.2.0", { upgradeFrom: ">=1.1.0" }), release("1.1.0", { waypoint: true })],
    path: ["1.1.0", "2.0.0"],
  },
  {
    name: "71 a step that left retention is named: waypoint_missing",
    from: release("1.2.0"),
    to: "1.5.0",
    releases: [release("1.5.0", { upgradeFrom: ">=1.4.0" })],
    retired: [release("1.3.0"), release("1.4.0")],
    path: "waypoint_missing",
  },
  {
    name: "71 a waypoint that left retention stops what would pass it by",
    from: release("1.2.0"),
    to: "1.5.0",
    releases: [release("1.5.0")],
    retired: [release("1.3.0", { waypoint: true })],
    path: "waypoint_missing",
  },
  {
    name: "K4 where nothing connects them it is refused",
    from: release("1.2.0"),
    to: "3.0.0",
    releases: [release("3.0.0", { upgradeFrom: ">=2.0.0" })],
    path: "no_upgrade_path",
  },
  {
    name: "K1 a preview is no hop",
    from: release("1.0.0"),
    to: "2.0.0",
    releases: [release("2.0.0", { upgradeFrom: ">=1.5.0-rc.1" }), release("1.5.0-rc.1")],
    path: "no_upgrade_path",
  },
  {
    name: "K1 a preview that was asked for is the goal",
    from: release("1.4.0"),
    to: "1.5.0-rc.1",
    releases: [release("1.5.0-rc.1", nextLine)],
    path: ["1.5.0-rc.1"],
  },
  { name: "33 1.10 is after 1.9", from: release("1.9.0"), to: "1.10.0", releases: [release("1.10.0", nextLine)], path: ["1.10.0"] },
];

for (const { name, from, to, releases, retired = [], path } of rows) {
  test(name, () => {
    const question = { from, to: parseVersion(to), releases, retired };
    if (typeof path !== "string") assert.deepEqual(findPath(question), path);
    else
      assert.throws(
        () => findPath(question),
        (error) => error instanceof SlipwayError && error.code === path && error.exitCode === 43,
      );
  });
}

test("71 the refusal names the release that is missing and where to get it", () => {
  const question = { from: release("1.2.0"), to: parseVersion("1.5.0"), releases: [release("1.5.0", { upgradeFrom: ">=1.4.0" })], retired: [release("1.4.0")] };
  assert.throws(
    () => findPath(question),
    (error) => error instanceof SlipwayError && error.detail === "1.4.0" && /1\.4\.0, which left retention/.test(error.message) && /mirror/.test(error.hint),
  );
});

const versions = ["1.0.0", "1.1.0", "1.1.1", "1.2.0", "1.3.0-rc.1", "1.3.0", "2.0.0", "2.1.0"];
const compats = fc.option(
  fc.record(
    {
      upgradeFrom: fc.constantFrom("previous-line", ">=1.1.0", ">=1.2.0 <2.0.0", "1.x", "*"),
      waypoint: fc.boolean(),
      epochs: fc.integer({ min: 1, max: 3 }).map((write) => ({ state: { read: write === 1 ? [1] : [write - 1, write], write } })),
    },
    { requiredKeys: [] },
  ),
  { nil: undefined },
);
const histories = fc.tuple(
  ...versions.map((version) =>
    fc.tuple(compats, fc.constantFrom("published", "retired", "never")).map(([compat, state]) => ({ ...release(version, compat), state })),
  ),
);

test("K4 every path that is found is made of allowed steps, ends at the goal, rises, uses only what is published, and is as short as any", () => {
  let found = 0;
  fc.assert(
    fc.property(histories, (history) => {
      const releases = history.filter(({ state }) => state === "published");
      const retired = history.filter(({ state }) => state === "retired");
      const [from, to] = [history[0], releases.at(-1)];
      if (from === undefined || to === undefined || to.version === from.version) return;
      let path: readonly Version[];
      try {
        path = findPath({ from, to: to.version, releases, retired });
      } catch (error) {
        assert.ok(error instanceof SlipwayError && ["no_upgrade_path", "waypoint_missing"].includes(error.code));
        assert.equal(shortest(from, to, releases, [...releases, ...retired]), undefined, "refused although there is a way");
        return;
      }
      found += 1;
      assert.equal(path.at(-1), to.version);
      let at: KnownRelease = from;
      for (const version of path) {
        const hop = releases.find((one) => one.version === version);
        assert.ok(hop !== undefined && mayStep(at, hop, [...releases, ...retired]) && compareVersions(version, at.version) > 0);
        assert.ok(isStable(version) || version === to.version);
        at = hop;
      }
      assert.equal(path.length, shortest(from, to, releases, [...releases, ...retired]));
    }),
    { numRuns: 500 },
  );
  assert.ok(found > 50, `${found} paths`);
});

/** All ways by brute force. */
function shortest(from: KnownRelease, to: KnownRelease, releases: readonly KnownRelease[], everything: readonly KnownRelease[]): number | undefined {
  if (mayStep(from, to, everything)) return 1;
  const rests = releases
    .filter((one) => isStable(one.version) && one.version !== to.version && compareVersions(one.version, to.version) < 0 && mayStep(from, one, everything))
    .flatMap((one) => shortest(one, to, releases, everything) ?? []);
  return rests.length === 0 ? undefined : 1 + Math.min(...rests);
}

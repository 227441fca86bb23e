/** The crash matrix in short: killed after every switch and every twelfth other durable change, every strategy, good and bad release, and the operator's rollback. crash.slow.ts does them all. */
import assert from "node:assert/strict";
import { readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { needClient } from "../support/clients.ts";
import { compiled } from "../support/compiled.ts";
import { straceEnvironment } from "../support/strace.ts";
import { crashAndRecover, killAtChange, listChanges, nameOf, plainRun, prepareScenario, scenarios, withVendors } from "./crash.ts";
import { startVendor } from "./support.ts";

/** Every day takes another twelfth of the points. */
const oneIn = 12;
const offset = Math.floor(Date.now() / 86_400_000) % oneIn;

for (const scenario of scenarios) {
  test(`48 ${nameOf(scenario)}: killed at a durable change, the machine ends old and working or new and working`, async (t) => {
    const vendor = await startVendor(t);
    const changes = await listChanges(vendor, scenario);
    assert.ok(changes.length > 8, changes.join(", "));
    const points = changes.flatMap((change, index) => (change === "switch" || index % oneIn === offset ? [index + 1] : []));
    let kills = 0;
    await withVendors(points, 2, async (own, point) => {
      if (await crashAndRecover(own, scenario, [killAtChange(point)])) kills += 1;
    });
    t.diagnostic(`${kills} kills at ${changes.length} changes`);
    assert.equal(kills, points.length);
  });
}

test("48 killed twice, the second time during the recovery", async () => {
  const pairs = scenarios.map((scenario) => ({ scenario, points: scenario.command === "rollback" ? [6, 2] : [12, 3] }));
  let kills = 0;
  await withVendors(pairs, 2, async (vendor, { scenario, points }) => {
    if (await crashAndRecover(vendor, scenario, points.map(killAtChange))) kills += 1;
  });
  assert.ok(kills > 0);
});

for (const scenario of scenarios) {
  test(`52 ${nameOf(scenario)}: what is renamed was made durable before, and the rename is made durable after`, async (t) => {
    if (!needClient(t, "strace")) return;
    const vendor = await startVendor(t);
    const site = await prepareScenario(vendor, scenario);
    t.after(() => rm(site.folder, { recursive: true, force: true }));
    const trace = join(site.folder, "trace");
    const argv = ["strace", "-f", "-y", "-o", trace, "-e", "trace=fsync,fdatasync,?rename,?renameat,?renameat2", ...plainRun(site, scenario.command)];
    await requireCommand(argv, { timeoutMs: 60_000, env: { ...straceEnvironment(), ...compiled } }).catch(() => undefined); // exit 40 is right for a bad release
    const calls = readTrace(await readFile(trace, "utf8"), site.folder);
    const renames = calls.flatMap((call, index) => (call.kind === "rename" ? [{ ...call, index }] : []));
    assert.ok(renames.length > 5, `${renames.length} renames`);
    for (const { from, to, index } of renames) {
      const isLink = from.includes("/.current-");
      const isSetAside = to.includes(".old-") && from.endsWith("/data"); // the state that the failed version left: it is on its way out
      const before = calls.slice(0, index).some((call) => call.kind === "sync" && (call.path === from || call.path.startsWith(`${from}/`)));
      assert.ok(before || isLink || isSetAside, `${from} was not made durable before its rename to ${to}`);
      const after = calls.slice(index).some((call) => call.kind === "sync" && call.path === dirname(to));
      assert.ok(after, `the rename to ${to} was not made durable`);
    }
  });
}

type Call = { readonly kind: "sync"; readonly path: string } | { readonly kind: "rename"; readonly from: string; readonly to: string };

/** The calls of strace's lines that succeeded and are about the folder; a call that was interrupted in the trace counts where it ended. */
function readTrace(text: string, folder: string): readonly Call[] {
  const begun = new Map<string, string>();
  const calls: Call[] = [];
  for (const line of text.split("\n")) {
    const [, pid = "", rest = ""] = /^(\d+) +(.*)$/.exec(line) ?? [];
    if (rest.endsWith("<unfinished ...>")) begun.set(pid, rest.slice(0, -"<unfinished ...>".length));
    const whole = rest.replace(/^<\.\.\. \w+ resumed>/, begun.get(pid) ?? "");
    if (!whole.endsWith("= 0") || !whole.includes(folder)) continue;
    const sync = /^f(?:data)?sync\(\d+<([^>]*)>/.exec(whole);
    const rename = /^rename\w*\((?:[^"]*)"([^"]*)", (?:[^"]*)"([^"]*)"/.exec(whole);
    if (sync?.[1] !== undefined) calls.push({ kind: "sync", path: sync[1] });
    if (rename?.[1] !== undefined && rename[2] !== undefined) calls.push({ kind: "rename", from: rename[1], to: rename[2] });
  }
  return calls;
}

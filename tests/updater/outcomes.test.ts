/** Outcomes: every kind of probe against a product that really answers, the three results, and the round trip of a durable task. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { Manifest } from "../../src/model/manifest.ts";
import { outcomesSchema } from "../../src/model/upgrade-contract.ts";
import { judge, proveOutcomes } from "../../src/updater/prove-outcomes.ts";
import { thisMachine } from "../../src/updater/machine.ts";
import { failure, makeSite, noSignal, startVendor } from "./support.ts";

const signal = noSignal;

/** A product with a version page, metrics, and tasks that take three looks to end. */
async function startProduct(t: TestContext, endOf: (task: string) => string = () => "succeeded"): Promise<{ readonly url: string; readonly port: number }> {
  const looks = new Map<string, number>();
  const server = createServer((request, response) => {
    const [, area, id] = (request.url ?? "").split("/");
    if (request.method === "POST" && area === "tasks") {
      let body = "";
      request.on("data", (piece: Buffer) => (body += piece.toString("utf8")));
      request.on("end", () => response.writeHead(201).end(JSON.stringify({ task: { id: `t-${(JSON.parse(body) as { kind: string }).kind}` } })));
    } else if (area === "tasks" && id !== undefined) {
      const seen = (looks.get(id) ?? 0) + 1;
      looks.set(id, seen);
      response.end(JSON.stringify({ state: seen < 3 ? "running" : endOf(id) }));
    } else if (area === "version") response.end(JSON.stringify({ version: "1.4.2", note: "ready" }));
    else if (area === "metrics") response.end('# TYPE jobs gauge\njobs{queue="a"} 3\njobs{queue="b"} 4 1700000000\njobs_total 99\n');
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { port, url: `http://127.0.0.1:${port}` };
}

const prove = (outcomes: unknown, name = "all", version = "1.4.2") =>
  proveOutcomes({ machine: thisMachine(() => undefined), outcomes: outcomesSchema.parse(outcomes), name, version, signal });

test("K6 C15 every kind of probe passes against what answers rightly, and fails against what does not", async (t) => {
  const { url, port } = await startProduct(t);
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  const log = join(site.folder, "log");
  await writeFile(log, "starting version 1.3.0\nstopped\nstarting version 1.4.2\n");
  const good = [
    { name: "page", http: { url: `${url}/version`, version: { json: "version" }, expect: "ready" } },
    { name: "port", tcp: { port } },
    { name: "program", command: { argv: ["echo", "toy 1.4.2"], version: "toy (.*)" } },
    { name: "sum", metric: { url: `${url}/metrics`, name: "jobs", min: 7, max: 7 } },
    { name: "series", metric: { url: `${url}/metrics`, name: 'jobs{queue="b"}', min: 4, max: 4 } },
    { name: "log", log: { file: log, version: "starting version (.*)" } },
  ];
  const report = await prove([{ name: "all", checks: good }]);
  assert.deepEqual(
    report.checks.filter(({ result }) => result !== "PASS"),
    [],
  );
  assert.deepEqual([report.outcome, report.result, report.version, report.checks.length], ["all", "PASS", "1.4.2", 6]);
  const bad = [
    { name: "page", http: { url: `${url}/nothing` } },
    { name: "words", http: { url: `${url}/version`, expect: "broken" } },
    { name: "port", tcp: { port: 1 } },
    { name: "program", command: { argv: ["false"] } },
    { name: "program-version", command: { argv: ["echo", "toy 1.3.0"], version: "toy (.*)" } },
    { name: "metric", metric: { url: `${url}/metrics`, name: "jobs", max: 6 } },
    { name: "no-metric", metric: { url: `${url}/metrics`, name: "job" } },
    { name: "log", log: { file: log, version: "never (.*)" } },
    { name: "no-log", log: { file: `${log}2`, version: "(.*)" } },
    { name: "unit", systemd: { unit: "slipway-is-not-there.service" } },
  ];
  const failed = await prove([{ name: "all", checks: bad }]);
  assert.deepEqual([failed.result, failed.checks.filter(({ result }) => result !== "FAIL")], ["FAIL", []]);
  assert.match(failed.checks.find(({ name }) => name === "program-version")?.detail ?? "", /says version "1\.3\.0"; expected 1\.4\.2/);
  assert.ok(failed.checks.every(({ next }) => next !== ""));
});

const pass = { result: "PASS", isRequired: true } as const;
const optional = { result: "SKIP", isRequired: false } as const;
for (const [name, checks, result] of [
  ["no check at all", [], "INCOMPLETE"],
  ["one that passes", [pass], "PASS"],
  ["a required one that is skipped, although another passes (C16)", [pass, { result: "SKIP", isRequired: true }], "INCOMPLETE"],
  ["an optional one that is skipped", [pass, optional], "PASS"],
  ["only optional ones that are skipped", [optional], "INCOMPLETE"],
  ["an optional one that fails", [pass, { result: "FAIL", isRequired: false }], "FAIL"],
  [
    "one that fails and one that is skipped",
    [
      { result: "FAIL", isRequired: true },
      { result: "SKIP", isRequired: true },
    ],
    "FAIL",
  ],
] as const) {
  test(`K6 an outcome with ${name} is ${result}`, () => assert.equal(judge(checks), result));
}

const trip = (url: string, kind: string, extra: object = {}) => [
  {
    name: "grading",
    checks: [
      {
        name: "task",
        roundtrip: {
          create: { url: `${url}/tasks`, body: JSON.stringify({ kind }), json: "task.id" },
          poll: { url: `${url}/tasks/{id}`, json: "state" },
          expect: ["succeeded"],
          refuse: ["failed"],
          deadline_seconds: 3,
          interval_seconds: 0.02,
          ...extra,
        },
      },
    ],
  },
];

test("K6 a durable task is started and ends well: PASS; ends badly: FAIL at once; stays blocked: FAIL at the deadline, never PASS", async (t) => {
  const { url } = await startProduct(t, (task) => ({ "t-good": "succeeded", "t-bad": "failed" })[task] ?? "blocked");
  const good = await prove(trip(url, "good"), "grading");
  assert.equal(good.result, "PASS", good.checks[0]?.detail ?? "");
  const bad = await prove(trip(url, "bad"), "grading");
  assert.match(bad.checks[0]?.detail ?? "", /t-bad: state "failed"; good is succeeded/);
  const blocked = await prove(trip(url, "stuck", { deadline_seconds: 0.3 }), "grading");
  assert.deepEqual([bad.result, blocked.result], ["FAIL", "FAIL"]);
  assert.match(blocked.checks[0]?.detail ?? "", /not done after 0\.3 s; state "blocked"/);
  const commands = trip(url, "", {
    create: { argv: ["echo", "job 7"], regex: "job (.*)" },
    poll: { argv: ["echo", "{id} is done"], regex: "7 is (.*)" },
    expect: ["done"],
  });
  assert.equal((await prove(commands, "grading")).result, "PASS");
});

test("K6 auto runs the outcomes that are marked so and that apply here; a name that nobody declared is refused", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  const check = (name: string, word: string) => ({ name, command: { argv: [word] } });
  const outcomes = [
    { name: "install", checks: [check("yes", "true")] },
    { name: "manual", auto: false, checks: [check("no", "false")] },
    { name: "feature", when: join(site.folder, "feature.conf"), checks: [check("no", "false")] },
  ];
  const auto = await prove(outcomes, "auto");
  assert.deepEqual([auto.result, auto.checks.map(({ name }) => name)], ["PASS", ["install/yes"]]);
  const asked = await prove(outcomes, "feature");
  assert.deepEqual([asked.result, asked.checks[0]?.result], ["INCOMPLETE", "SKIP"]);
  await writeFile(join(site.folder, "feature.conf"), "");
  assert.equal((await prove(outcomes, "auto")).result, "FAIL");
  await failure(prove(outcomes, "other"), "not_found");
  assert.equal((await prove([], "auto")).result, "INCOMPLETE");
});

test("K6 the signed release brings its outcomes along, and an upgrade whose outcome does not pass is rolled back where the installation demands it", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  const contract = (argv: readonly string[]) => ({
    changeManifest: (manifest: Manifest) => ({ ...manifest, outcomes: [{ name: "works", checks: [{ name: "answers", command: { argv } }] }] }),
  });
  await vendor.release("1.4.2", contract(["true"]));
  await (await site.updater()).install({ signal });
  const report = await (await site.updater()).prove({ name: "works", signal });
  assert.deepEqual([report.result, report.version], ["PASS", "1.4.2"]);
  await vendor.release("1.5.0", contract(["false"]));
  await writeFile(site.file, `${await readFile(site.file, "utf8")}verify: [works]\n`);
  const error = await failure((await site.updater()).install({ signal }), "health_failed", "rolled_back");
  assert.match(error.message, /outcome works is FAIL: answers/);
  assert.equal(await site.running(), "1.4.2");
});

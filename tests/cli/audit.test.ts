/** The audit commands against a real server: list, export, verify, usage. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type RunningServer, startServer } from "../server/running-server.ts";
import { runSlipway } from "../support/vendor.ts";

let server: RunningServer;
let folder: string;

before(async () => {
  server = await startServer();
  folder = await mkdtemp(join(tmpdir(), "slipway-audit-"));
  await server.admin("POST", "/products", { name: "coequal" });
  await server.admin("POST", "/customers", { name: "acme" });
  await server.server.context.audit.record({
    actor: { kind: "customer", id: "c1", name: "acme" },
    customer: "acme",
    keyId: "SLKAAAAAAAAAAAAAAAAAAAA",
    action: "download",
    result: "complete",
    product: "coequal",
    version: "1.4.2",
    artifact: "coequal_1.4.2_amd64.deb",
    protocol: "apt",
    address: "192.0.2.1",
    client: '=HYPERLINK("http://evil.example","free")',
    status: 200,
    bytes: 5_000_000,
  });
});

after(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

const slipway = (...words: readonly string[]) => runSlipway([...words, "--server", server.url], { cwd: folder, env: { SLIPWAY_TOKEN: server.adminToken } });

test("C9 audit names the administrator who acted and what he acted on", async () => {
  const { stdout } = await slipway("audit");
  assert.match(stdout, /first +customer\.add +acme +complete/);
  assert.match(stdout, /acme +download +coequal 1\.4\.2 coequal_1\.4\.2_amd64\.deb +complete 200 +5\.0 MB +192\.0\.2\.1/);
});

test("C9 the export has every event oldest first, administrative ones with their link", async () => {
  const { stdout } = await slipway("audit", "export");
  const events = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { id: string; action: string; link: { seq: number } | null });
  assert.deepEqual(
    events.map(({ id }) => id).toSorted(),
    events.map(({ id }) => id),
  );
  assert.deepEqual(
    events.map(({ action, link }) => [action, link?.seq]),
    [
      ["token.issue", 1],
      ["product.create", 2],
      ["customer.add", 3],
      ["download", undefined],
    ],
  );
});

test("C9 the CSV is whole, never replaces a file, and holds no formula", async () => {
  const file = join(folder, "trail.csv");
  const words = ["audit", "export", "--format", "csv", "--customer", "acme", "--action", "download", "--output", file];
  assert.equal((await slipway(...words)).exitCode, 0);
  const [head, line, end] = (await readFile(file, "utf8")).split("\r\n");
  assert.match(head ?? "", /^id,at,actor_kind,.*,client,detail,link,hash$/);
  assert.match(line ?? "", /,"'=HYPERLINK\(""http:\/\/evil\.example"",""free""\)",,,$/);
  assert.equal(end, "");
  const again = await slipway(...words);
  assert.deepEqual([again.exitCode, /is there already/.test(again.stderr)], [2, true]);
  const none = await slipway("audit", "export", "--since", "2099-01-01");
  assert.deepEqual([none.exitCode, none.stdout], [0, ""]);
  assert.equal((await slipway("audit", "export", "--since", "yesterday")).exitCode, 2);
});

test("C9 usage shows who pulled which version", async () => {
  const { stdout } = await slipway("audit", "usage", "--product", "coequal");
  assert.match(stdout, /acme +coequal +1\.4\.2 +apt +1 +5\.0 MB +1 /);
  assert.match((await slipway("audit", "usage", "--customer", "nobody")).stdout, /nothing was pulled in the last 90 days/);
});

test("C9 verify prints the newest hash, proves one noted earlier, and fails where the trail was changed", async () => {
  const { stdout } = await slipway("audit", "verify");
  const [, head] = /newest hash: ([0-9a-f]{64})/.exec(stdout) ?? [];
  assert.ok(head !== undefined, stdout);
  await server.admin("POST", "/customers", { name: "umbrella" });
  assert.equal((await slipway("audit", "verify", "--expect", head)).exitCode, 0);
  const other = await slipway("audit", "verify", "--expect", "ab".repeat(32));
  assert.deepEqual([other.exitCode, /no link has the hash abab/.test(other.stderr)], [20, true]);
  await server.server.context.store.db.updateTable("audit_events").set({ customer: "initech" }).where("action", "=", "customer.add").execute();
  const changed = await slipway("audit", "verify");
  assert.equal(changed.exitCode, 20);
  assert.match(changed.stderr, /link 3: the event \S+ is not as it was recorded/);
});

/** Advisories, feeds, portal, set-up and notices over HTTP: who may read what, what the documents hold, and real readers of them. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { requireCommand, runCommand } from "../../src/io/command.ts";
import { needClient } from "../support/clients.ts";
import { csafSchema, osvSchema } from "./advisory-schemas.ts";
import { get, issuePair, type Pair, publish, type RunningServer, startServer } from "./running-server.ts";

let running: RunningServer;
let pair: Pair;
let stranger: Pair;

const advisory = {
  id: "ACME-2026-001",
  product: "coequal",
  title: "Session <tokens> are predictable",
  severity: "critical",
  cves: ["CVE-2026-12345"],
  affected: "<1.5.1",
  fixed_in: "1.5.1",
  text: "An attacker & a clock may guess <script>alert(1)</script> tokens.",
  references: ["https://acme.example/ACME-2026-001"],
  credits: ["Ada Finder"],
};

before(async () => {
  running = await startServer({ vendorName: "Acme & Söhne", publicAdvisories: "frank" });
  for (const product of ["coequal", "frank"]) {
    await publish(running, product, "1.5.0");
    await publish(running, product, "1.5.1");
  }
  await publish(running, "other", "1.0.0");
  pair = await issuePair(running, "acme", "coequal");
  stranger = await issuePair(running, "borea", "other");
  assert.equal((await get(running, "/releases/coequal/1.5.0/coequal-1.5.0-linux-amd64", pair)).status, 200);
  for (const change of [{}, { id: "FRANK-1", product: "frank" }]) {
    const answer = await running.admin("POST", "/advisories", { advisory: { ...advisory, ...change } });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  }
});

after(async () => {
  await running.stop();
});

const feeds = ["advisories.atom", "releases.atom", "osv.json", "osv/ACME-2026-001.json", "csaf/provider-metadata.json", "csaf/index.txt", "csaf/changes.csv"];

test("C17 feeds are read with the pair and by nobody else; where the vendor says so, advisories by anybody and releases by nobody else", async () => {
  for (const feed of feeds) {
    const refused = await get(running, `/feed/coequal/${feed}`);
    assert.equal(refused.status, 401, feed);
    assert.match(refused.headers.get("www-authenticate") ?? "", /^Basic/);
    assert.equal((await get(running, `/feed/coequal/${feed}`, stranger)).status, 404, feed);
    const answer = await get(running, `/feed/coequal/${feed}`, pair);
    assert.equal(answer.status, 200, feed);
    assert.match(answer.headers.get("cache-control") ?? "", /^private/);
    const opened = `/feed/frank/${feed.replace("ACME-2026-001", "FRANK-1")}`;
    assert.equal((await get(running, opened)).status, feed === "releases.atom" ? 401 : 200, feed);
  }
  for (const path of ["/feed/coequal/nothing", "/feed/nothing/osv.json", "/feed/coequal/csaf/2026/none.json", "/feed/coequal/osv/..%2f..%2fx.json"]) {
    assert.equal((await get(running, path, pair)).status, 404, path);
  }
});

test("a feed that did not change is answered with 304, by tag and by date", async () => {
  const first = await get(running, "/feed/coequal/advisories.atom", pair);
  const [tag, date] = [first.headers.get("etag") ?? "", first.headers.get("last-modified") ?? ""];
  assert.equal((await get(running, "/feed/coequal/advisories.atom", pair, { "if-none-match": tag })).status, 304);
  assert.equal((await get(running, "/feed/coequal/advisories.atom", pair, { "if-modified-since": date })).status, 304);
});

test("C17 the OSV record and the CSAF document have the form of their schemas, and gpgv takes the document's signature", async (t) => {
  const ajv = new Ajv2020({ strict: true, strictRequired: false, allErrors: true });
  addFormats.default(ajv);
  const osv = (await (await get(running, "/feed/coequal/osv.json", pair)).json()) as unknown[];
  assert.equal(osv.length, 1);
  const isOsv = ajv.compile(osvSchema);
  assert.ok(isOsv(osv[0]), JSON.stringify(isOsv.errors));
  const path = (await (await get(running, "/feed/coequal/csaf/index.txt", pair)).text()).trim();
  assert.match(path, /^20\d\d\/acme-2026-001\.json$/);
  const document = await (await get(running, `/feed/coequal/csaf/${path}`, pair)).text();
  const isCsaf = ajv.compile(csafSchema);
  assert.ok(isCsaf(JSON.parse(document)), JSON.stringify(isCsaf.errors));
  const { vulnerabilities } = JSON.parse(document) as { vulnerabilities: { product_status: unknown }[] };
  assert.deepEqual(vulnerabilities[0]?.product_status, { fixed: ["coequal:1.5.1"], known_affected: ["coequal:1.5.0"] });
  const sum = await (await get(running, `/feed/coequal/csaf/${path}.sha512`, pair)).text();
  assert.equal(sum, `${createHash("sha512").update(document).digest("hex")}  acme-2026-001.json\n`);
  if (!needClient(t, "gpgv")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-csaf-"));
  try {
    const file = (name: string): string => join(folder, name);
    await writeFile(file("key.gpg"), Buffer.from(await (await get(running, "/keys/coequal.gpg")).arrayBuffer()));
    await writeFile(file("doc.json.asc"), await (await get(running, `/feed/coequal/csaf/${path}.asc`, pair)).text());
    await writeFile(file("doc.json"), document);
    await requireCommand(["gpgv", "--keyring", file("key.gpg"), file("doc.json.asc"), file("doc.json")], { timeoutMs: 20_000 });
    await writeFile(file("doc.json"), document.replace("critical", "low"));
    const forged = await runCommand(["gpgv", "--keyring", file("key.gpg"), file("doc.json.asc"), file("doc.json")], { timeoutMs: 20_000 });
    assert.notEqual(forged.exitCode, 0);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("C6 C17 the portal tells a customer what concerns it, escapes what others wrote, and lets nothing run", async () => {
  assert.equal((await get(running, "/portal")).status, 401);
  const answer = await get(running, "/portal", pair);
  assert.equal(answer.status, 200);
  const policy = answer.headers.get("content-security-policy") ?? "";
  assert.match(policy, /^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/);
  assert.equal(answer.headers.get("cache-control"), "no-store");
  const page = await answer.text();
  const style = /<style>([\s\S]*?)<\/style>/.exec(page)?.[1] ?? "";
  assert.ok(policy.includes(createHash("sha256").update(style).digest("base64")), "the style is the one that the policy allows");
  assert.match(page, /Acme &amp; Söhne/);
  assert.match(page, /Session &lt;tokens&gt; are predictable\. You have fetched coequal\s+1\.5\.0/);
  assert.match(page, /&lt;script&gt;alert\(1\)/);
  assert.doesNotMatch(page, /<script/);
  assert.ok(page.includes(pair.id));
  assert.ok(!page.includes(pair.secret), "the secret stands nowhere");
  assert.match(page, /\$SLIPWAY_SECRET/);
  const other = await (await get(running, "/portal", stranger)).text();
  assert.doesNotMatch(other, /coequal|ACME-2026-001/);
  const admin = await fetch(`${running.url}/portal`, { headers: { authorization: `Bearer ${running.adminToken}` } });
  assert.equal(admin.status, 403);
});

test("C3 C6 C9 the portal sets up the channel stable wherever else its release is, shows what a grant limits, and why a version was withdrawn", async () => {
  for (const version of ["1.0.0", "1.1.0"]) await publish(running, "gale", version);
  const reader = await issuePair(running, "gusto", "gale");
  assert.equal((await get(running, "/releases/gale/1.1.0/gale-1.1.0-linux-amd64", reader)).status, 200);
  assert.equal((await running.admin("POST", "/products/gale/releases/1.0.0/promote", { channel: "preview" })).status, 200);
  const withdrawn = await running.admin("POST", "/products/gale/releases/1.1.0/withdraw", { reason: "loses <sessions>" });
  assert.equal(withdrawn.status, 200, JSON.stringify(withdrawn.body));
  const until = new Date(Date.now() + 5 * 86_400_000).toISOString();
  assert.equal((await running.admin("PUT", "/customers/gusto/grants/gale", { entitledUntil: until, channel: "stable" })).status, 200);
  const page = await (await get(running, "/portal", reader)).text();
  assert.match(page, /^Suites: stable$/m);
  assert.doesNotMatch(page, /preview/, "not in his channels");
  for (const client of ["apt (Debian", "dnf (Fedora", "zypper (SUSE)", "aws (S3", "curl, wget"]) assert.ok(page.includes(`<summary>${client}`), client);
  assert.doesNotMatch(page, /docker login --username SLK|apk add/, "there is no image and no apk of it");
  assert.match(
    page,
    /gale <strong>1\.1\.0<\/strong>, which you have fetched, was withdrawn by the vendor \(loses &lt;sessions&gt;\); its successor is <strong>1\.0\.0</,
  );
  assert.ok(page.includes(`Your entitlement to gale ends on ${until.slice(0, 10)}; what was published before it stays.`));
  assert.ok(page.includes(`You are entitled to it until ${until.slice(0, 10)}; stable and more stable channels.`));
  assert.equal((await get(running, "/releases/gale/1.0.0/gale-1.0.0-linux-amd64", reader)).status, 200);
  assert.doesNotMatch(await (await get(running, "/portal", reader)).text(), /was withdrawn by the vendor/, "it has another one now");
});

test("C14 the keys of a product are listed with their fingerprints, for programs and for a security policy", async () => {
  const listed = (await (await get(running, "/keys/coequal.json")).json()) as { keys: { use: string; kind: string; fingerprint: string; url: string }[] };
  const [first] = listed.keys;
  assert.deepEqual([first?.use, first?.kind, first?.fingerprint], ["repository", "openpgp", running.server.context.repositoryKey.fingerprint.toUpperCase()]);
  assert.equal((await fetch(first?.url ?? "")).status, 200);
  const policy = await (await get(running, "/keys/coequal.txt")).text();
  assert.ok(policy.replaceAll(/\s/g, "").includes(first?.fingerprint ?? "none"));
  assert.equal((await get(running, "/keys/nothing.json")).status, 404);
});

test("the admin API refuses what is no advisory, says who is affected, and needs an administrator", async () => {
  const bad = await running.admin("POST", "/advisories", { advisory: { ...advisory, severity: "huge" } });
  assert.equal(bad.status, 400);
  assert.equal((bad.body["error"] as { code: string }).code, "advisory_invalid");
  const old = await running.admin("POST", "/advisories", { advisory: { ...advisory, id: "ACME-2026-009", fixed_in: "1.5.2", affected: "<1.5.2" } });
  assert.equal(old.status, 409);
  const { body } = await running.admin("GET", "/advisories/ACME-2026-001/customers");
  assert.deepEqual(
    (body["customers"] as { customer: string; versions: string[]; hasFix: boolean }[]).map(({ customer, versions, hasFix }) => [customer, versions, hasFix]),
    [["acme", ["1.5.0"], false]],
  );
  for (const path of ["/api/v1/advisories", "/api/v1/notices", "/api/v1/webhooks", "/api/v1/deliveries", `/api/v1/keys/${pair.id}/setup`]) {
    assert.equal((await get(running, path, pair)).status, 401, path);
  }
});

test("a customer ends its mails by the link alone: reading the page changes nothing, a wrong link is absent", async () => {
  assert.equal((await running.admin("PUT", "/customers/acme/contact", { mail: "ops@acme.example" })).status, 200);
  assert.equal((await running.admin("PUT", "/customers/acme/contact", { mail: "ops@acme.example\nBcc: all@x" })).status, 400);
  const { store } = running.server.context;
  const { unsubscribe_token: token } = await store.db.selectFrom("customer_contacts").select("unsubscribe_token").executeTakeFirstOrThrow();
  const url = `${running.url}/notices/unsubscribe/${token}`;
  const ended = async (): Promise<unknown> => (await running.admin("GET", "/customers/acme/contact")).body["unsubscribed"];
  const page = await fetch(url);
  assert.equal(page.status, 200);
  assert.match(await page.text(), /End these mails/);
  assert.deepEqual(await ended(), []);
  const form = { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" } };
  assert.equal((await fetch(url, { ...form, body: "kind=release&wanted=no" })).status, 200);
  assert.deepEqual(await ended(), ["release"]);
  assert.equal((await fetch(url, { ...form, body: "List-Unsubscribe=One-Click" })).status, 200);
  assert.ok(((await ended()) as string[]).includes("advisory"));
  assert.equal((await fetch(url, { ...form, body: "kind=release&wanted=yes" })).status, 200);
  assert.ok(!((await ended()) as string[]).includes("release"));
  assert.equal((await fetch(`${running.url}/notices/unsubscribe/${"A".repeat(43)}`)).status, 404);
});

test("webhooks are added with a secret shown once, called for a test, and only where they may be", async () => {
  for (const url of ["http://hooks.example/", "https://127.0.0.1:9/hook"]) {
    assert.equal((await running.admin("POST", "/webhooks", { url, events: [] })).status, 400, url);
  }
  const made = await running.admin("POST", "/webhooks", { url: "https://hooks.invalid/hook", events: ["advisory"] });
  assert.equal(made.status, 201);
  assert.match(String(made.body["secret"]), /^whsec_/);
  const listed = await running.admin("GET", "/webhooks");
  assert.doesNotMatch(JSON.stringify(listed.body), /whsec_/);
  const tried = await running.admin("POST", `/webhooks/${String(made.body["id"])}/test`);
  assert.equal(tried.status, 502, "no such host");
  assert.equal((await running.admin("DELETE", `/webhooks/${String(made.body["id"])}`)).status, 200);
});

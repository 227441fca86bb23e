/** What operators with limits see with their own tools: apt, dnf, skopeo and aws agree, and say why where something is refused. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { rolloutBucket } from "../../src/policy/visibility.ts";
import { pushImage, vendorOf } from "../server/registry-client.ts";
import { issuePair, type Pair, publishTo, type RunningServer, startServer } from "../server/running-server.ts";
import { type AptRoot, withAptRoot } from "../support/apt-root.ts";
import { awsClient, debianAws } from "../support/aws-client.ts";
import { needClient } from "../support/clients.ts";
import { withDnfRoot } from "../support/dnf-root.ts";

const product = "coequal";
let running: RunningServer;

before(async () => {
  running = await startServer({ supportUrl: "https://vendor.example/renew" });
  await release("1.4.0");
});
after(() => running.stop());

const release = (version: string, percent?: number) =>
  publishTo(running, product, version, { ...(percent === undefined ? {} : { percent }), beforePublish: () => pushImage(vendorOf(running), product, version) });

async function act(path: string, body: unknown, method = "POST"): Promise<void> {
  const answer = await running.admin(method, path, body);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
}

const grant = (customer: string, change: unknown) => act(`/customers/${customer}/grants/${product}`, change, "PUT");

async function setUp(apt: AptRoot, pair: Pair): Promise<void> {
  const sources = await fetch(`${running.url}/setup/${product}/${product}.sources`, { headers: { authorization: pair.authorization } });
  await apt.writeSource(await sources.text());
  await apt.writeAuth(`machine ${running.url}/apt/${product} login ${pair.id} password ${pair.secret}\n`);
}

/** What apt would install; throws where the update fails. */
async function candidate(apt: AptRoot): Promise<string | undefined> {
  const update = await apt.run(["update", "--error-on=any"]);
  assert.equal(update.exitCode, 0, update.stdout + update.stderr);
  return /Candidate: (\S+)/.exec((await apt.command(["apt-cache", "policy", product])).stdout)?.[1];
}

/** A pair whose customer is on this side of the release's rollout. */
async function pairOnSide(side: "in" | "out", version: string, share: number): Promise<Pair> {
  const { db } = running.server.context.store;
  const { salt } = await db
    .selectFrom("release_channels")
    .innerJoin("releases", "releases.id", "release_id")
    .select("salt")
    .where("version", "=", version as never)
    .executeTakeFirstOrThrow();
  for (let count = 0; count < 1_000; count += 1) {
    const name = `${side}-${version.replaceAll(".", "-")}-${count}`;
    const pair = await issuePair(running, name, product);
    const { id } = await db.selectFrom("customers").select("id").where("name", "=", name).executeTakeFirstOrThrow();
    if (rolloutBucket(salt, id) < share === (side === "in")) return pair;
  }
  return assert.fail("no customer on this side");
}

test("C3 C9 apt follows a rollout, a pin and a lapsed entitlement through its index, and prints why a file is refused or withdrawn", async (t) => {
  if (!needClient(t, "mmdebstrap", "dpkg-deb")) return;
  await withAptRoot(t, async (apt) => {
    await release("1.5.0", 30);
    const outside = await pairOnSide("out", "1.5.0", 3_000);
    await setUp(apt, outside);
    assert.equal(await candidate(apt), "1.4.0", "the rollout has not come");
    const install = await apt.run(["install", "-y", product]);
    assert.equal(install.exitCode, 0, install.stdout + install.stderr);
    await setUp(apt, await pairOnSide("in", "1.5.0", 3_000));
    assert.equal(await candidate(apt), "1.5.0");
    await act(`/products/${product}/releases/1.5.0/rollout`, { percent: 100 });
    await setUp(apt, outside);
    assert.equal(await candidate(apt), "1.5.0", "now it has");

    const pair = await issuePair(running, "pinned", product);
    await setUp(apt, pair);
    await grant("pinned", { pin: { version: "1.4.0" } });
    assert.equal(await candidate(apt), "1.4.0", "pinned");
    await grant("pinned", { pin: null });
    assert.equal(await candidate(apt), "1.5.0", "the pin was lifted, and no 304 hides it");
    // Its index is of a moment ago: the file itself is refused, with the reason.
    await grant("pinned", { versions: "<1.5.0" });
    const refused = await apt.run(["install", "-y", product]);
    assert.notEqual(refused.exitCode, 0);
    assert.match(
      refused.stdout + refused.stderr,
      /403\s+Forbidden - coequal 1\.5\.0 is not covered by the entitlement \(<1\.5\.0\), see https:\/\/vendor\.example\/renew/,
    );

    await grant("pinned", { versions: null, entitledUntil: new Date().toISOString() });
    await release("1.6.0");
    assert.equal(await candidate(apt), "1.5.0", "nothing that came after the end");
    const upgrade = await apt.run(["install", "-y", product]);
    assert.equal(upgrade.exitCode, 0, "what was paid for still installs\n" + upgrade.stdout + upgrade.stderr);
    await grant("pinned", { lapse: "cut" });
    const cut = await apt.run(["update", "--error-on=any"]);
    assert.notEqual(cut.exitCode, 0);
    assert.match(cut.stdout + cut.stderr, /403\s+Forbidden - entitlement to coequal ended \d{4}-\d\d-\d\d, see/);

    await grant("pinned", { lapse: "keep", entitledUntil: null });
    assert.equal(await candidate(apt), "1.6.0");
    await act(`/products/${product}/releases/1.6.0/withdraw`, { reason: "loses sessions" });
    const withdrawn = await apt.run(["install", "-y", product]);
    assert.notEqual(withdrawn.exitCode, 0);
    assert.match(withdrawn.stdout + withdrawn.stderr, /410\s+Gone - coequal 1\.6\.0 was withdrawn by the vendor; use 1\.5\.0 instead \(loses sessions\)/);
    assert.equal(await candidate(apt), "1.5.0");
  });
});

async function scratch(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-views-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

test("C3 C9 dnf, skopeo and aws see the same as apt: a pinned customer's versions, latest and bucket; an announced version warns who pulls it", async (t) => {
  if (!needClient(t, "dnf", "rpm", "skopeo", "aws")) return;
  await release("2.0.0");
  await release("2.1.0");
  const pair = await issuePair(running, "held", product);
  await grant("held", { pin: { version: "2.0.0", until: "2999-12-31T23:59:59Z" } });
  await withDnfRoot(t, async (dnf) => {
    // The rpms of this server are unsigned: here the signed indexes are what counts.
    const repo = `[coequal]\nname=coequal\nbaseurl=${running.url}/yum/${product}/stable\nrepo_gpgcheck=1\ngpgcheck=0\ngpgkey=${running.url}/keys/${product}.asc\n`;
    await dnf.writeRepo(`${repo}username=${pair.id}\npassword=${pair.secret}\n`);
    const install = await dnf.run(["install", product]);
    assert.equal(install.exitCode, 0, install.stdout + install.stderr);
    assert.match((await dnf.rpm(["-q", product])).stdout, /^coequal-2\.0\.0-1/m);
    await grant("held", { pin: null });
    const upgrade = await dnf.run(["--refresh", "upgrade"]);
    assert.equal(upgrade.exitCode, 0, upgrade.stdout + upgrade.stderr);
    assert.match((await dnf.rpm(["-q", product])).stdout, /^coequal-2\.1\.0-1/m);
  });
  await grant("held", { pin: { version: "2.0.0" } });
  const folder = await scratch(t);
  const authFile = join(folder, "auth.json");
  const { host } = new URL(running.url);
  await writeFile(authFile, JSON.stringify({ auths: { [host]: { auth: Buffer.from(`${pair.id}:${pair.secret}`).toString("base64") } } }), { mode: 0o600 });
  const skopeo = (words: readonly string[]) => runCommand(["skopeo", "--insecure-policy", ...words], { timeoutMs: 60_000 });
  const tags = await skopeo(["list-tags", "--tls-verify=false", "--authfile", authFile, `docker://${host}/${product}`]);
  assert.equal(tags.exitCode, 0, tags.stderr);
  const listed = (JSON.parse(tags.stdout) as { Tags: string[] }).Tags;
  assert.ok(listed.includes("2.0.0") && listed.includes("stable") && !listed.includes("2.1.0"), listed.join(" "));
  const digestOf = async (tag: string): Promise<string> => {
    const inspected = await skopeo(["inspect", "--tls-verify=false", "--authfile", authFile, "--raw", `docker://${host}/${product}:${tag}`]);
    return inspected.exitCode === 0 ? inspected.stdout : `refused: ${inspected.stderr}`;
  };
  assert.equal(await digestOf("latest"), await digestOf("2.0.0"));
  assert.match(await digestOf("2.1.0"), /^refused: .*manifest unknown/is);
  const aws = await awsClient(t, { program: await debianAws(), url: running.url, pair });
  const bucket = await aws.must(`aws s3 ls s3://${product}/ --recursive`);
  assert.ok(bucket.includes("deb/pool/main/c/coequal/coequal_2.0.0_amd64.deb") && !bucket.includes("2.1.0"), bucket);
  await aws.must(`aws s3 sync s3://${product}/deb mirror --delete`);
  await grant("held", { pin: null });
  await aws.must(
    `aws s3 sync s3://${product}/deb mirror --delete && test -e mirror/pool/main/c/coequal/coequal_2.1.0_amd64.deb && grep -q "" mirror/dists/stable/InRelease`,
  );
  const mirrored = await aws.must(
    "gzip -dc mirror/dists/stable/main/binary-amd64/Packages.gz | grep -c ^Version: && sed -n '/main.binary-amd64.Packages.gz/p' mirror/dists/stable/Release && sha256sum mirror/dists/stable/main/binary-amd64/Packages.gz",
  );
  const [, sum = "none"] = /([0-9a-f]{64})  mirror/.exec(mirrored) ?? [];
  assert.ok(mirrored.split(sum).length === 3, `the mirrored Release names the mirrored index\n${mirrored}`);

  await act(`/products/${product}/retention-policy`, { keep: 1, announceDays: 30 }, "PUT");
  const plan = await running.admin("GET", `/products/${product}/retention`);
  await act(`/products/${product}/retention`, { basis: plan.body["basis"] });
  const pulled = await fetch(`${running.url}/v2/${product}/manifests/1.4.0`, { headers: { authorization: pair.authorization } });
  assert.match(pulled.headers.get("warning") ?? "", /^299 - "coequal 1\.4\.0 is older than .* will be removed soon; use 2\.1\.0 instead"$/);
  assert.equal(
    (await skopeo(["copy", "--src-tls-verify=false", "--src-authfile", authFile, `docker://${host}/${product}:1.4.0`, `dir:${join(folder, "image")}`]))
      .exitCode,
    0,
  );
});

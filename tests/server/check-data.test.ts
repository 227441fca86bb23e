/** `slipway server check` on the data folder of a real server: every kind of damage is named, and what can be mended is. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import type { DataCheck } from "../../src/server/check-data.ts";
import { runSlipway } from "../support/vendor.ts";
import { postgresFlags } from "./postgres-flags.ts";
import { get, hexOf, issuePair, type Pair, publish, startServer, type TestFile } from "./running-server.ts";
import { pushImage, vendorOf } from "./registry-client.ts";
import { entry } from "./served-process.ts";

let folder: string;
let whole: string;
let pair: Pair;
let files: readonly TestFile[];
let layer: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "slipway-check-"));
  const running = await startServer();
  files = await publish(running, "coequal", "1.4.0");
  await publish(running, "coequal", "1.5.0");
  ({ layer } = await pushImage(vendorOf(running), "coequal", "tools"));
  pair = await issuePair(running, "acme", "coequal");
  await running.server.stop();
  whole = join(folder, "whole");
  await rename(running.dataDir, whole);
});
after(() => rm(folder, { recursive: true, force: true }));

let copies = 0;
async function copy(): Promise<string> {
  const path = join(folder, `copy-${(copies += 1)}`);
  await cp(whole, path, { recursive: true, preserveTimestamps: true });
  return path;
}

type Said = { readonly exitCode: number; readonly check: DataCheck & { readonly isSound: boolean }; readonly faults: readonly string[] };

async function check(dataDir: string, ...flags: readonly string[]): Promise<Said> {
  const { exitCode, stdout, stderr } = await runSlipway(["server", "check", "--data-dir", dataDir, "--json", ...flags], { cwd: folder, env: {} });
  const line = stdout.split("\n").find((text) => text.includes("isSound"));
  assert.ok(line !== undefined, stdout + stderr);
  const said = JSON.parse(line) as Said["check"];
  return { exitCode, check: said, faults: said.faults.map(({ part, what, text }) => `${part} ${what} ${text}`) };
}

const blobPath = (dataDir: string, hex: string): string => join(dataDir, "blobs", "sha256", hex.slice(0, 2), hex);

async function turnByte(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  await writeFile(path, bytes);
}

/** Hex of the blob of an index file of the head. */
function indexBlob(dataDir: string, path: string): string {
  const database = new DatabaseSync(join(dataDir, "slipway.db"), { readOnly: true });
  try {
    const text = "select digest from snapshot_files join heads using (snapshot_id) where path = ?";
    return String(database.prepare(text).get(path)?.["digest"]).slice("sha256:".length);
  } finally {
    database.close();
  }
}

test("a data folder that is whole is said to be, with what was looked at; a folder that is none is refused and not made", async () => {
  const { exitCode, check: said, faults } = await check(whole);
  assert.deepEqual([exitCode, faults, said.isSound], [0, [], true]);
  assert.ok(said.blobs > 15 && said.secrets >= 2 && said.auditLinks > 5, JSON.stringify(said));
  const missing = join(folder, "nowhere");
  const { exitCode: none, stderr } = await runSlipway(["server", "check", "--data-dir", missing], { cwd: folder, env: {} });
  assert.equal(none, 3, stderr);
  await assert.rejects(stat(missing), { code: "ENOENT" });
});

test("a blob that is missing, cut short, changed by one bit or in quarantine is named with what needs it; --quick sees all but the bit", async () => {
  const dataDir = await copy();
  const [deb, rpm, binary, sums] = files.map(({ content }) => hexOf(content));
  assert.ok(deb !== undefined && rpm !== undefined && binary !== undefined && sums !== undefined);
  await rm(blobPath(dataDir, deb));
  await truncate(blobPath(dataDir, rpm), 100);
  await turnByte(blobPath(dataDir, binary));
  await mkdir(join(dataDir, "blobs", "quarantine"), { recursive: true });
  const layerHex = layer.slice("sha256:".length);
  await rename(blobPath(dataDir, layerHex), join(dataDir, "blobs", "quarantine", layerHex));
  const expected = [
    [deb, /is not there; needed for coequal 1\.4\.0: coequal_1\.4\.0_amd64\.deb/],
    [rpm, /has 100 bytes instead of \d+; needed for coequal 1\.4\.0: coequal-1\.4\.0-1\.x86_64\.rpm/],
    [layerHex, /lies in quarantine.*; needed for image coequal@sha256:/],
  ] as const;
  const quick = await check(dataDir, "--quick");
  assert.deepEqual([quick.exitCode, quick.faults.length], [20, 3], quick.faults.join("\n"));
  const full = await check(dataDir);
  assert.deepEqual([full.exitCode, full.faults.length], [20, 4], full.faults.join("\n"));
  for (const [hex, text] of expected) {
    for (const { faults } of [quick, full]) assert.match(faults.find((fault) => fault.includes(hex)) ?? "", text);
  }
  assert.match(full.faults.find((fault) => fault.includes(binary)) ?? "", /with the digest sha256:.*; needed for coequal 1\.4\.0: coequal-1\.4\.0-linux-amd64/);
});

test("--repair brings back what is in quarantine, and takes a damaged artifact away so that the same build can be uploaded again", async () => {
  const dataDir = await copy();
  const binary = files[2] ?? assert.fail();
  const hex = hexOf(binary.content);
  await turnByte(blobPath(dataDir, hex));
  const layerHex = layer.slice("sha256:".length);
  await rename(blobPath(dataDir, layerHex), join(dataDir, "blobs", "quarantine", layerHex));
  const { exitCode, check: said } = await check(dataDir, "--repair");
  assert.equal(exitCode, 20);
  const mended = new Map(said.faults.map(({ what, isMended }) => [what, isMended]));
  assert.deepEqual([mended.size, mended.get(`sha256:${hex}`), mended.get(layer)], [2, false, true]);
  assert.ok((await stat(join(dataDir, "blobs", "damaged", hex))).isFile());
  const running = await startServer({ dataDir });
  try {
    const path = "/releases/coequal/1.4.0/coequal-1.4.0-linux-amd64";
    assert.equal((await get(running, path, pair)).status, 500);
    const log = await get(running, path, pair);
    assert.equal(((await log.json()) as { error: { code: string } }).error.code, "data_damaged");
    await running.upload(binary.content);
    assert.equal(await (await get(running, path, pair)).text(), Buffer.from(binary.content).toString());
    const [deb, rpm] = files;
    assert.ok(deb !== undefined && rpm !== undefined);
    await turnByte(blobPath(dataDir, hexOf(deb.content)));
    await truncate(blobPath(dataDir, hexOf(rpm.content)), 100);
    for (const { name } of [deb, rpm]) assert.equal((await get(running, `/releases/coequal/1.4.0/${name}`, pair)).status, 500, "damaged bytes are not sent");
    for (const { content } of [deb, rpm]) await writeFile(blobPath(dataDir, hexOf(content)), content);
  } finally {
    await running.server.stop();
  }
  assert.equal((await check(dataDir)).exitCode, 0);
});

test("--repair makes lost and damaged indexes anew, and the next release is published on top of them", async () => {
  const dataDir = await copy();
  const packages = indexBlob(dataDir, "apt/dists/stable/main/binary-amd64/Packages.gz");
  const signature = indexBlob(dataDir, "yum/stable/repodata/repomd.xml.asc");
  await turnByte(blobPath(dataDir, packages));
  await rm(blobPath(dataDir, signature));
  const found = await check(dataDir);
  assert.deepEqual([found.exitCode, found.faults.length], [20, 2], found.faults.join("\n"));
  for (const hex of [packages, signature]) assert.match(found.faults.find((fault) => fault.includes(hex)) ?? "", /^indexes .*; needed for index of coequal: /);
  const repaired = await check(dataDir, "--repair");
  assert.deepEqual([repaired.exitCode, repaired.check.isSound], [0, true], JSON.stringify(repaired.check));
  assert.deepEqual([(await check(dataDir)).exitCode], [0]);
  const running = await startServer({ dataDir });
  try {
    await publish(running, "coequal", "1.6.0");
    const packed = await (await get(running, "/apt/coequal/dists/stable/main/binary-amd64/Packages.gz", pair)).arrayBuffer();
    const index = gunzipSync(Buffer.from(packed)).toString();
    for (const version of ["1.4.0", "1.5.0", "1.6.0"]) assert.equal(index.split(`\nVersion: ${version}\n`).length, 2, version);
  } finally {
    await running.server.stop();
  }
});

test("a copy that may not be written to is checked, and refused where it holds a log of writes without the index of it", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("needs root to mount");
  const place = join(folder, "read-only");
  await mkdir(place);
  const script = 'mount --bind "$0" "$1" && mount -o remount,ro,bind "$1" && exec "$2" "$3" server check --data-dir "$1" --quick';
  const checkThere = (dataDir: string) => spawnSync("unshare", ["-m", "sh", "-c", script, dataDir, place, process.execPath, entry]);
  const stopped = checkThere(whole);
  assert.match(stopped.stdout.toString(), /all of it is there/, stopped.stderr.toString());
  const running = await copy();
  const database = new DatabaseSync(join(running, "slipway.db"));
  database.exec("pragma journal_mode=wal; create table extra (id integer)");
  const killed = `${running}-killed`;
  await cp(running, killed, { recursive: true, filter: (path) => !path.endsWith("-shm") });
  database.close();
  assert.match(checkThere(killed).stderr.toString(), /write-ahead log.*\[source_unusable\]/);
});

test("a wrong key-encryption key, a torn database, a changed audit event and damaged views are faults of their parts, and the other parts are looked at all the same", async () => {
  const dataDir = await copy();
  await writeFile(join(dataDir, "key-encryption-key"), `${Buffer.alloc(32, 7).toString("base64")}\n`);
  const database = new DatabaseSync(join(dataDir, "slipway.db"));
  database.exec("update audit_events set detail = 'another' where id = (select event_id from audit_chain where seq = 3)");
  database.exec("update snapshots set views = '{}' where superseded_at is null");
  database.exec("pragma foreign_keys = off; delete from customers; pragma wal_checkpoint(truncate)");
  database.close();
  const { exitCode, check: said, faults } = await check(dataDir);
  assert.equal(exitCode, 20);
  const all = faults.join("\n");
  assert.match(all, /^database {2}row \S+ of access_keys names a row of customers that is not there$/m);
  assert.match(all, /^indexes coequal the views of snapshot \S+ are damaged/m);
  assert.match(all, new RegExp(`^secrets ${pair.id} the secret of this access key does not open$`, "m"));
  assert.match(all, /^secrets repository key /m);
  assert.match(all, /^audit {2}link 3: /m);
  assert.ok(said.blobs > 15);
  assert.ok(!JSON.stringify(said).includes(pair.secret));
  await writeFile(join(dataDir, "slipway.db"), "this is no database, whatever its name says".repeat(200));
  const torn = await check(dataDir);
  assert.equal(torn.exitCode, 20);
  assert.match(torn.faults.join("\n"), /^database {2}cannot be looked at: .*not a database$/m);
});

test("the check reads the records of PostgreSQL too, while the server goes on", async (t) => {
  const flags = await postgresFlags(t);
  if (flags === undefined) return;
  const running = await startServer(flags);
  t.after(() => running.stop());
  const [deb] = await publish(running, "coequal", "1.4.0");
  const config = join(running.dataDir, "slipway-server.yaml");
  await writeFile(config, `database-url-file: ${flags["databaseUrlFile"]}\n`);
  const sound = await check(running.dataDir);
  assert.deepEqual([sound.exitCode, sound.faults, sound.check.database], [0, [], "postgres"]);
  await rm(blobPath(running.dataDir, hexOf(deb?.content ?? Buffer.of())));
  assert.match((await check(running.dataDir)).faults.join("\n"), /is not there; needed for coequal 1\.4\.0: coequal_1\.4\.0_amd64\.deb/);
});

/** Backup and restore: the archive, what is refused before anything is touched, replacing instead of merging, and kills at every rename. */
import assert from "node:assert/strict";
import { chmod, link, mkdir, readdir, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { gunzipSync, gzipSync } from "node:zlib";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { createTarWriter } from "../../src/formats/tar.ts";
import { requireCommand } from "../../src/io/command.ts";
import { needClient } from "../support/clients.ts";
import { plantMemberType } from "../support/crooked-tar.ts";
import { killAtChange, plainRun, runKilled } from "./crash.ts";
import { failure, makeSite, noSignal, type Site, type SiteOptions, startVendor, type Vendor } from "./support.ts";

const signal = noSignal;

async function installed(
  t: TestContext,
  options: SiteOptions = {},
): Promise<{ readonly site: Site; readonly vendor: Vendor; readonly data: string; readonly file: string }> {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, options, t);
  await vendor.release("1.4.2");
  await (await site.updater()).install({ signal });
  return { site, vendor, data: join(site.folder, "data"), file: join(site.folder, "toy.rbk") };
}

/** Paths with content, mode and link target: two states are the same when these are. */
async function pictureOf(folder: string): Promise<readonly string[]> {
  const lines: string[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const content = entry.isFile() ? await readFile(path, "base64") : entry.isSymbolicLink() ? await readlink(path) : "";
    const { mode, mtimeMs } = entry.isSymbolicLink() ? { mode: 0, mtimeMs: 0 } : await stat(path);
    lines.push(`${path} ${(mode & 0o7777).toString(8)} ${entry.isFile() ? Math.floor(mtimeMs) : ""} ${content}`);
  }
  return lines.sort();
}

async function fillState(data: string): Promise<void> {
  await mkdir(join(data, "deep/er"), { recursive: true });
  await writeFile(join(data, "deep/er/file"), "x".repeat(100_000), { mode: 0o640 });
  await writeFile(join(data, `${"long-".repeat(60)}name`.slice(0, 240)), "a long name");
  await writeFile(join(data, "größe ☃"), "a name beyond ASCII");
  await symlink("er/file", join(data, "deep/link"));
  await writeFile(join(data, "empty"), "");
  await chmod(join(data, "deep"), 0o750);
}

for (const isGzipped of [false, true]) {
  test(`K6 K7 a backup${isGzipped ? ", compressed," : ""} is one private tar that tar itself reads, and a restore brings back exactly that`, async (t) => {
    if (!needClient(t, "tar")) return;
    const { site, data, file } = await installed(t);
    await fillState(data);
    const before = await pictureOf(data);
    const made = await (await site.updater()).backup({ output: file, isGzipped });
    assert.equal(((await stat(file)).mode & 0o777).toString(8), "600");
    assert.equal(
      made.sha256,
      createHash("sha256")
        .update(await readFile(file))
        .digest("hex"),
    );
    const names = (await requireCommand(["tar", "-tf", file], { timeoutMs: 10_000, env: { PATH: process.env["PATH"] ?? "", LC_ALL: "C.UTF-8" } }))
      .trim()
      .split("\n");
    assert.deepEqual([names[0], names[1], names.at(-1)], ["manifest.json", "data/data/", "manifest.sha256"]);
    const manifest = JSON.parse(await requireCommand(["tar", "-xOf", file, "manifest.json"], { timeoutMs: 10_000 })) as Record<string, unknown>;
    assert.deepEqual(
      [manifest["schema"], manifest["product"], manifest["version"], manifest["totals"]],
      [1, "toy", "1.4.2", { files: made.files, bytes: made.bytes }],
    );

    await writeFile(join(data, "created-since"), "must not stay");
    await rm(join(data, "deep"), { recursive: true });
    await writeFile(join(data, "empty"), "not any more");
    const plan = await (await site.updater()).planRestore({ path: file });
    assert.deepEqual(plan.sections, [{ name: "data", path: data, files: made.files, bytes: made.bytes, isPresent: true }]);
    assert.ok((await readdir(data)).includes("created-since"), "a dry run changes nothing");
    const result = await (await site.updater()).restore({ path: file });
    assert.ok(result.downtimeMs >= 0);
    assert.equal(await site.running(), "1.4.2");
    // The start of the product writes its own files again; everything else is as it was.
    const own = /\/(format|made-by-1\.4\.2) /;
    assert.deepEqual(
      (await pictureOf(data)).filter((line) => !own.test(line)),
      before.filter((line) => !own.test(line)),
    );
    assert.deepEqual(
      (await readdir(site.folder)).filter((name) => name.startsWith(".data")),
      [],
      "nothing is left lying about",
    );
    const { lines } = await (await site.updater()).history();
    assert.equal(lines.at(-1)?.phase, "restored");
  });
}

test("a backup never overwrites, and its own backups are listed until the operator removes them", async (t) => {
  const { site, vendor, file } = await installed(t);
  await writeFile(file, "mine");
  await failure((await site.updater()).backup({ output: file }), "backup_failed", "exists");
  assert.equal(await readFile(file, "utf8"), "mine");
  const kept = await (await site.updater()).backup({});
  await vendor.release("1.5.0");
  await (await site.updater()).install({ signal });
  const list = await (await site.updater()).backups();
  assert.deepEqual(
    list.map(({ archiveOf }) => archiveOf).toSorted((left, right) => left.localeCompare(right)),
    ["by hand, 1.4.2", "pre-upgrade 1.4.2 -> 1.5.0"],
  );
  assert.ok(list.some(({ id }) => id === kept.id));
});

test("sections: what is excluded is not in it, a section that is not there will be gone, and what no section covers is warned of", async (t) => {
  const { site, data, file } = await installed(t);
  const text = await readFile(site.file, "utf8");
  await mkdir(join(data, "cache"));
  await writeFile(join(data, "cache/x"), "x");
  const sections = `{ name: main, path: ${data}, exclude: [cache] }, { name: extra, path: ${site.folder}/extra }, { name: one, kind: file, path: ${site.folder}/one }`;
  await writeFile(site.file, text.replace("backup: { paths: [data] }", `backup: { sections: [${sections}] }`));
  await writeFile(join(site.folder, "one"), "1");
  await mkdir(join(site.stateDir, "forgotten"));
  const made = await (await site.updater()).backup({ output: file });
  assert.deepEqual(made.sections, ["main", "extra", "one"]);
  const checked = await (await site.updater()).verifyBackup({ path: file });
  assert.deepEqual(checked.warnings, [`${join(site.stateDir, "forgotten")} belongs to no section, so no backup holds it`]);
  await mkdir(join(site.folder, "extra"));
  await writeFile(join(site.folder, "one"), "2");
  await (await site.updater()).restore({ path: file });
  assert.equal(await readFile(join(site.folder, "one"), "utf8"), "1");
  await assert.rejects(stat(join(site.folder, "extra")), { code: "ENOENT" });
  assert.ok(!(await readdir(data)).includes("cache"));
});

test("K6 a dump command's output is looked at and counted, and restored by this installation's own command", async (t) => {
  const { site, file } = await installed(t);
  const table = join(site.folder, "table");
  await writeFile(table, "row 1\nrow 2\n");
  const section = (count: string): string =>
    `{ name: base, kind: cmd, dump: [cp, ${table}, "{file}"], inspect: [grep, -q, row, "{file}"], restore: [cp, "{file}", ${table}], count: [sh, -c, "${count}"] }`;
  const text = await readFile(site.file, "utf8");
  const use = (count: string): Promise<void> =>
    writeFile(site.file, text.replace("backup: { paths: [data] }", `backup: { paths: [data], sections: [${section(count)}] }`));
  await use(`grep -c . ${table}`);
  await (await site.updater()).backup({ output: file });
  await writeFile(table, "row 3\n");
  await (await site.updater()).restore({ path: file });
  assert.equal(await readFile(table, "utf8"), "row 1\nrow 2\n");
  assert.deepEqual(
    (await readdir(site.updates)).filter((name) => name.startsWith("restore")),
    [],
  );
  // A count that changes while it is dumped is no backup.
  await use(`cat /proc/sys/kernel/random/uuid | tr -dc 0-9 | cut -c1-9`);
  await failure((await site.updater()).backup({ output: `${file}2` }), "backup_failed", "backup_inconsistent");
  await writeFile(table, "");
  await use("echo 0");
  await failure((await site.updater()).backup({ output: `${file}3` }), "backup_failed", "no_dump");
  assert.deepEqual(
    (await readdir(site.folder)).filter((name) => name.includes(".tmp") || name.includes(".dumps")),
    [],
  );
});

test("64 a state that grows while it is read is tried again, then refused, and leaves nothing behind", async (t) => {
  const { site, data, file } = await installed(t);
  await writeFile(join(data, "log"), "");
  const stop = new AbortController();
  const grow = (async (): Promise<void> => {
    while (!stop.signal.aborted) {
      await writeFile(join(data, "log"), "line\n", { flag: "a" });
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  await writeFile(join(data, "large"), Buffer.alloc(8_000_000, 7));
  await failure((await site.updater()).backup({ output: file }), "backup_failed", "backup_inconsistent");
  stop.abort();
  await grow;
  await assert.rejects(stat(file), { code: "ENOENT" });
  await (await site.updater()).backup({ output: file });
});

type Member = { readonly name: string; readonly content?: string; readonly target?: string; readonly type?: string };

/** A backup that somebody else made: a manifest and members as told. */
async function forge(
  file: string,
  change: (manifest: Record<string, unknown>, files: Record<string, unknown>[]) => void,
  members: (good: readonly Member[]) => readonly Member[] = (good) => good,
): Promise<void> {
  const hash = (text: string): string => createHash("sha256").update(text).digest("hex");
  const common = { mode: 0o644, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mtime: 1 };
  const files: Record<string, unknown>[] = [
    { ...common, path: "data", type: "dir", size: 0, mode: 0o755 },
    { ...common, path: "data/a", type: "file", size: 3, sha256: hash("aaa") },
  ];
  const manifest: Record<string, unknown> = {
    schema: 1,
    product: "toy",
    version: "1.4.2",
    createdAt: "2026-01-01T00:00:00Z",
    archiveOf: "forged",
    sections: [{ name: "data", kind: "dir", path: "/etc", isPresent: true }],
    files,
    totals: { files: 1, bytes: 3 },
  };
  change(manifest, files);
  const text = JSON.stringify(manifest);
  const good: readonly Member[] = [
    { name: "manifest.json", content: text },
    { name: "data/data/" },
    { name: "data/data/a", content: "aaa" },
    { name: "manifest.sha256", content: `${hash(text)}  manifest.json\n` },
  ];
  const pieces: Buffer[] = [];
  const writer = createTarWriter((piece) => void pieces.push(Buffer.from(piece)));
  for (const { name, content, target, type } of members(good)) {
    const at = pieces.length;
    const header = { name, mode: 0o644, epochSeconds: 1 };
    if (target !== undefined) await writer.add({ ...header, kind: "symlink", target });
    else if (content === undefined) await writer.add({ ...header, kind: "directory" });
    else await writer.add({ ...header, kind: "file" }, bytesSource(Buffer.from(content)));
    const block = pieces[at];
    if (type !== undefined && block !== undefined) plantMemberType(block, type);
  }
  await writer.end();
  await rm(file, { force: true });
  await writeFile(file, Buffer.concat(pieces));
}

const insert =
  (member: Member) =>
  (good: readonly Member[]): readonly Member[] => [...good.slice(0, 3), member, ...good.slice(3)];

for (const [what, change, members] of [
  ["..", undefined, insert({ name: "data/../../x", content: "x" })],
  ["an absolute path", undefined, insert({ name: "/etc/x", content: "x" })],
  ["a hard link", undefined, insert({ name: "data/data/b", content: "", type: "1" })],
  ["a device", undefined, insert({ name: "data/data/b", content: "", type: "3" })],
  ["a path twice", undefined, insert({ name: "data/data/a", content: "aaa" })],
  ["a file that its manifest does not list", undefined, insert({ name: "data/data/b", content: "b" })],
  ["a file missing", undefined, (good: readonly Member[]) => good.filter(({ name }) => !name.endsWith("/a"))],
  ["another content", undefined, (good: readonly Member[]) => good.map((one) => (one.content === "aaa" ? { ...one, content: "bbb" } : one))],
  ["no end", undefined, (good: readonly Member[]) => good.slice(0, -1)],
  ["no manifest at its begin", undefined, (good: readonly Member[]) => good.slice(1)],
  ["a manifest with ..", (_: unknown, files: Record<string, unknown>[]) => void files.push({ ...files[1], path: "data/../x" }), undefined],
  [
    "a file below a link",
    (_: unknown, files: Record<string, unknown>[]) =>
      void files.splice(1, 1, { ...files[0], path: "data/l", type: "symlink", target: "/etc" }, { ...files[1], path: "data/l/x" }),
    undefined,
  ],
  ["wrong totals", (manifest: Record<string, unknown>) => void (manifest["totals"] = { files: 1, bytes: 4 }), undefined],
  [
    "a section that nobody knows",
    (manifest: Record<string, unknown>, files: Record<string, unknown>[]) => {
      manifest["sections"] = [
        { name: "data", kind: "dir", isPresent: true },
        { name: "etc", kind: "dir", path: "/etc", isPresent: false },
      ];
      void files;
    },
    undefined,
  ],
  [
    "a dump that nobody here restores",
    (manifest: Record<string, unknown>) =>
      void (manifest["sections"] = [
        { name: "data", kind: "dir", isPresent: true },
        { name: "sql", kind: "cmd", isPresent: false },
      ]),
    undefined,
  ],
] as const) {
  test(`61 a backup with ${what} is refused before anything is written`, async (t) => {
    const { site, data, file } = await installed(t);
    const before = await pictureOf(site.folder);
    await forge(file, change ?? (() => undefined), members);
    await failure((await site.updater()).restore({ path: file }), "backup_failed");
    await rm(file);
    assert.deepEqual((await pictureOf(data)).length > 0, true);
    const after = (await pictureOf(site.folder)).filter((line) => !/\/updates[ /]/.test(line));
    assert.deepEqual(
      after,
      before.filter((line) => !/\/updates[ /]/.test(line)),
    );
    assert.deepEqual(
      (await readdir(site.updates)).filter((name) => name.startsWith("restore")),
      [],
    );
    assert.equal(await site.running(), "1.4.2");
  });
}

test("61 a backup says nothing about where it goes: a path of its own is not followed, and the forged one restores to this installation's place", async (t) => {
  const { site, data, file } = await installed(t);
  await forge(file, () => undefined);
  await (await site.updater()).restore({ path: file });
  assert.equal(await readFile(join(data, "a"), "utf8"), "aaa");
});

test("61 a link out of its section is refused, unless the operator forces it", async (t) => {
  const { site, data, file } = await installed(t);
  await symlink("/etc/hostname", join(data, "out"));
  await (await site.updater()).backup({ output: file });
  await failure((await site.updater()).restore({ path: file }), "backup_failed", "symlink_out");
  await (await site.updater()).restore({ path: file, isForced: true });
  assert.equal(await readlink(join(data, "out")), "/etc/hostname");
});

test("61 a compressed backup that is cut or is a bomb is refused", async (t) => {
  const { site, data, file } = await installed(t);
  await writeFile(join(data, "noise"), Buffer.from(Array.from({ length: 60_000 }, (_, index) => (index * 7919) % 251)));
  await (await site.updater()).backup({ output: file, isGzipped: true });
  const whole = await readFile(file);
  await writeFile(file, whole.subarray(0, whole.length - 40));
  await failure((await site.updater()).restore({ path: file }), "backup_failed", "backup_damaged");
  // More zeros behind the first members than the manifest says: cut there, not unpacked.
  const plain = gunzipSync(whole);
  await writeFile(file, gzipSync(Buffer.concat([plain.subarray(0, plain.length - 1536), Buffer.alloc(50_000_000)])));
  await failure((await site.updater()).restore({ path: file }), "backup_failed", "backup_damaged");
  await link(file, `${file}.hard`);
  await symlink(file, `${file}.link`);
  await failure((await site.updater()).restore({ path: `${file}.link` }), "backup_failed");
});

test("K5 a backup of a newer version, or of a format that is not read, is refused without --force", async (t) => {
  const { site, file } = await installed(t);
  await forge(file, (manifest) => void (manifest["version"] = "2.0.0"));
  await failure((await site.updater()).restore({ path: file }), "compat_violation", "newer_backup");
  await (await site.updater()).restore({ path: file, isForced: true });
  await forge(file, (manifest) => void (manifest["product"] = "other"));
  await failure((await site.updater()).restore({ path: file, isForced: true }), "backup_failed", "other_product");
});

test("K7 a restore after which the product is not healthy says so and keeps what was there before", async (t) => {
  const { site, file } = await installed(t);
  await (await site.updater()).backup({ output: file });
  await writeFile(join(site.folder, "start.sh"), "#!/bin/sh\nexit 1\n");
  const error = await failure((await site.updater()).restore({ path: file }), "rollback_failed", undefined);
  assert.equal(error.exitCode, 41);
  assert.ok((await readdir(site.folder)).some((name) => name.startsWith(".data.old-")));
});

test("63 killed after every durable change of a restore, the next command undoes or finishes it: never half old and half new", async (t) => {
  const { site, data, file } = await installed(t);
  const second = join(site.folder, "second");
  await mkdir(second);
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, text.replace("paths: [data]", "paths: [data, second]"));
  const say = async (word: string): Promise<void> => {
    for (const folder of [data, second]) await writeFile(join(folder, "word"), word);
  };
  const read = async (): Promise<readonly string[]> => Promise.all([data, second].map((folder) => readFile(join(folder, "word"), "utf8")));
  await say("saved");
  await (await site.updater()).backup({ output: file });
  const changes = JSON.parse((await runKilled(plainRun(site, "restore"))).stdout) as readonly string[];
  assert.ok(changes.length >= 8, changes.join(", "));
  const ends = new Set<string>();
  for (let point = 1; point <= changes.length; point += 1) {
    await say("later");
    const { isKilled } = await runKilled(killAtChange(point)(site, "restore"));
    assert.ok(isKilled, `point ${point}`);
    // The guard: whoever starts the product now does not start it on half a state.
    if (point % 2 === 0) await (await site.updater()).beforeStart();
    await failure((await site.updater()).cancel(), "nothing_to_resume"); // any command that takes the lock
    const words = new Set(await read());
    assert.equal(words.size, 1, `point ${point}: ${[...words].join(" and ")}`);
    ends.add([...words].join());
    assert.equal(await site.running(), "1.4.2", `point ${point}`);
    assert.deepEqual(
      (await readdir(site.folder)).filter((name) => /^\.(data|second)\./.test(name)),
      [],
      `point ${point}`,
    );
    assert.deepEqual(
      (await readdir(site.updates)).filter((name) => name.startsWith("restore")),
      [],
      `point ${point}`,
    );
  }
  assert.deepEqual([...ends].sort(), ["later", "saved"]);
});

/** The tar reader: gives back what the writer wrote, reads what other tools write, and refuses what would leave the folder. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { createTarWriter, type TarHeader, tarHeader } from "../../src/formats/tar.ts";
import { readTar, requireMember, type TarLimits, type TarMember, type TarRefusal } from "../../src/formats/tar-read.ts";
import { needClient } from "../support/clients.ts";
import { plantMemberType } from "../support/crooked-tar.ts";
import { bytesOf, codeOf, temporaryFolder } from "./sample.ts";

const limits: TarLimits = { name: "x.tar", memberLimit: 1_000, pax: "read" };

type Row = Omit<TarMember, "body" | "offset"> & { readonly content: string };

async function rows(tar: Uint8Array, own: Partial<TarLimits> = {}, pieceSize = 700): Promise<readonly (Row | TarRefusal)[]> {
  const cut = async function* (): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < tar.length; at += pieceSize) yield tar.subarray(at, at + pieceSize);
  };
  const found: (Row | TarRefusal)[] = [];
  for await (const one of readTar(cut(), { ...limits, ...own })) {
    if (one.kind === "refused") found.push(one);
    else {
      const { body, offset, ...rest } = one;
      const content = (await bytesOf(body())).toString("latin1");
      assert.equal(Buffer.from(tar).toString("latin1", offset, offset + rest.sizeBytes), content);
      found.push({ ...rest, content });
    }
  }
  return found;
}

async function tarOf(members: readonly { readonly header: TarHeader; readonly content?: string }[]): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  const tar = createTarWriter((piece) => void pieces.push(Uint8Array.from(piece)));
  for (const { header, content } of members) await tar.add(header, content === undefined ? undefined : bytesSource(Buffer.from(content, "latin1")));
  await tar.end();
  return Buffer.concat(pieces);
}

const header = (name: string, changes: Partial<TarHeader> = {}): TarHeader => ({ name, kind: "file", mode: 0o644, epochSeconds: 1_700_000_000, ...changes });

/** A member made by hand: what our writer would never write. */
function rawMember(name: string, type: string, options: { readonly target?: string; readonly content?: Uint8Array } = {}): Buffer {
  const content = options.content ?? new Uint8Array(0);
  const block = Buffer.from(tarHeader(header("placeholder", { sizeBytes: content.length })));
  block.fill(0, 0, 100).write(name, 0);
  block.write(options.target ?? "", 157);
  plantMemberType(block, type);
  return Buffer.concat([block, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}
const end = Buffer.alloc(1024);

test("what the writer wrote is read back: names of any length, modes, contents, however the bytes are cut", async () => {
  const segment = fc.stringMatching(/^[A-Za-z0-9_äß-]{1,120}$/);
  const member = fc.record({
    segments: fc.array(segment, { minLength: 1, maxLength: 5 }),
    kind: fc.constantFrom("file", "directory", "symlink"),
    mode: fc.integer({ min: 0, max: 0o7777 }),
    content: fc.string({ unit: "binary-ascii", maxLength: 1500 }),
    target: fc.stringMatching(/^[a-z/.]{1,250}$/),
    // Undefined is GNU's dialect; the others are PAX records, with values that make the length of a record grow by a digit.
    pax: fc.option(fc.dictionary(fc.constantFrom("comment", "APK-TOOLS.checksum.SHA1"), fc.stringMatching(/^[a-zü=]{0,110}$/), { noNullPrototype: true }), {
      nil: undefined,
    }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(member, { maxLength: 12 }), fc.integer({ min: 1, max: 2000 }), async (members, pieceSize) => {
      // A folder of its own for each member: the writer does not check for repetition, its callers do.
      const named = members.map((one, place) => ({ ...one, path: [`m${place}`, ...one.segments].join("/") }));
      const tar = await tarOf(
        named.map(({ path, kind, mode, target, content, pax }) => ({
          header: header(kind === "directory" ? `./${path}/` : `./${path}`, {
            ...(pax === undefined ? {} : { pax }),
            kind,
            mode,
            ...(kind === "symlink" ? { target } : {}),
            owner: "toy",
            group: "toys",
          }),
          ...(kind === "file" ? { content } : {}),
        })),
      );
      const expected = named.map(({ path, kind, mode, target, content, pax }) => ({
        kind,
        path,
        storedName: kind === "directory" ? `./${path}/` : `./${path}`,
        pax: new Map(Object.entries(pax ?? {})),
        mode,
        sizeBytes: kind === "file" ? content.length : 0,
        epochSeconds: 1_700_000_000,
        owner: "toy",
        group: "toys",
        ...(kind === "symlink" ? { target } : {}),
        content: kind === "file" ? content : "",
      }));
      assert.deepEqual(await rows(tar, {}, pieceSize), expected);
    }),
    { numRuns: 60 },
  );
});

for (const format of ["v7", "ustar", "gnu", "pax"]) {
  test(`GNU tar's ${format} archives are read`, async (t) => {
    if (!needClient(t, "tar")) return;
    const folder = await temporaryFolder(t);
    const long = format === "v7" ? "short" : `${"d".repeat(90)}/${"f".repeat(format === "ustar" ? 60 : 140)}`;
    await mkdir(join(folder, "top", long, ".."), { recursive: true });
    await writeFile(join(folder, "top", long), "content");
    await symlink("short", join(folder, "top/link"));
    const tar = execFileSync("tar", ["--format", format, "--sort=name", "--owner=root", "--group=root", "-c", "top"], { cwd: folder });
    const found = await rows(tar);
    const expected = new Map([
      [`top/${long}`, "content"],
      ["top/link", "-> short"],
    ]);
    const seen = found
      .filter((one) => one.kind !== "directory")
      .map((one) => (one.kind === "refused" ? [one.name, one.reason] : [one.path, one.target === undefined ? one.content : `-> ${one.target}`]));
    assert.deepEqual(new Map(seen as [string, string][]), expected);
    if (format === "pax")
      assert.ok(
        (await rows(tar, { pax: "refused" })).some((one) => one.kind === "refused" && one.reason === "pax_record"),
        "regression 1",
      );
  });
}

test("GNU tar lists and unpacks what we write", async (t) => {
  if (!needClient(t, "tar")) return;
  const folder = await temporaryFolder(t);
  const long = `${"a".repeat(130)}/${"b".repeat(200)}`;
  const tar = await tarOf([{ header: header("dir/", { kind: "directory", mode: 0o755 }) }, { header: header(long), content: "long" }]);
  await writeFile(join(folder, "x.tar"), tar);
  assert.equal(execFileSync("tar", ["-tf", join(folder, "x.tar")]).toString(), `dir/\n${long}\n`);
  assert.equal(execFileSync("tar", ["-xOf", join(folder, "x.tar"), long]).toString(), "long");
});

const attacks = [
  { what: "an absolute path", member: rawMember("/etc/passwd", "0"), reason: "absolute_path" },
  { what: "a path with ..", member: rawMember("a/../../etc/passwd", "0"), reason: "parent_path" },
  { what: "a bare ..", member: rawMember("..", "5"), reason: "parent_path" },
  { what: "a backslash", member: rawMember("a\\..\\b", "0"), reason: "bad_name" },
  { what: "a line feed", member: rawMember("a\nb", "0"), reason: "bad_name" },
  { what: "an empty name", member: rawMember("", "0"), reason: "bad_name" },
  { what: "a hard link", member: rawMember("a", "1", { target: "/etc/shadow" }), reason: "hard_link" },
  { what: "a character device", member: rawMember("a", "3"), reason: "device" },
  { what: "a block device", member: rawMember("a", "4"), reason: "device" },
  { what: "a FIFO", member: rawMember("a", "6"), reason: "device" },
  { what: "a sparse file", member: rawMember("a", "S", { content: Buffer.from("x") }), reason: "unknown_type" },
  { what: "a second member of the same name", member: Buffer.concat([rawMember("a", "0"), rawMember("./a", "0")]), reason: "duplicate" },
  { what: "a member below a link", member: Buffer.concat([rawMember("a", "2", { target: "/etc" }), rawMember("a/passwd", "0")]), reason: "through_link" },
  { what: "a member below a file", member: Buffer.concat([rawMember("a", "0"), rawMember("a/b", "0")]), reason: "through_link" },
  {
    what: "an absolute PAX path",
    member: Buffer.concat([rawMember("pax", "x", { content: Buffer.from("20 path=/etc/passwd\n") }), rawMember("a", "0")]),
    reason: "absolute_path",
  },
  {
    what: "an absolute GNU long name",
    member: Buffer.concat([rawMember("././@LongLink", "L", { content: Buffer.from("/etc/passwd\0") }), rawMember("a", "0")]),
    reason: "absolute_path",
  },
];
for (const { what, member, reason } of attacks) {
  test(`${what} is refused as ${reason}, and the members after it are still read`, async () => {
    const found = await rows(Buffer.concat([member, rawMember("after", "0", { content: Buffer.from("ok") }), end]));
    const refused = found.filter((one) => one.kind === "refused");
    assert.deepEqual(
      refused.map((one) => one.reason),
      [reason],
    );
    assert.deepEqual(found.at(-1)?.kind === "file" && (found.at(-1) as Row).content, "ok");
    assert.throws(() => requireMember(refused[0] as TarRefusal, "x.tar"), { code: "path_unsafe", detail: reason });
  });
}

test("for a package, a hard link is a file whose content stands before it; to anything else it stays refused", async () => {
  const tar = Buffer.concat([
    rawMember("usr/", "5"),
    rawMember("usr/perl", "0", { content: Buffer.from("perl") }),
    rawMember("usr/perl5", "1", { target: "./usr/perl" }),
    rawMember("usr/link", "2", { target: "/etc" }),
    rawMember("usr/to-absolute", "1", { target: "/usr/perl" }),
    rawMember("usr/to-outside", "1", { target: "../etc/shadow" }),
    rawMember("usr/to-folder", "1", { target: "usr" }),
    rawMember("usr/to-link", "1", { target: "usr/link" }),
    rawMember("usr/to-later", "1", { target: "usr/later" }),
    rawMember("../outside", "1", { target: "usr/perl" }),
    rawMember("usr/perl", "1", { target: "usr/perl" }),
    rawMember("usr/later", "0"),
    end,
  ]);
  const found = await rows(tar, { areHardLinksRead: true });
  const linked = found.find((one) => one.kind === "file" && one.path === "usr/perl5");
  assert.deepEqual(linked?.kind === "file" && [linked.target, linked.content, linked.sizeBytes], ["usr/perl", "", 0]);
  assert.deepEqual(
    found.flatMap((one) => (one.kind === "refused" ? [`${one.name} ${one.reason}`] : [])),
    [
      ...["to-absolute", "to-outside", "to-folder", "to-link", "to-later"].map((name) => `usr/${name} hard_link`),
      "../outside parent_path",
      "usr/perl duplicate",
    ],
  );
});

test("for a package, a backslash is a character like others", async () => {
  const unit = String.raw`lib/systemd/system/dev-disk-by\x2duuid.swap`;
  assert.deepEqual(
    (await rows(Buffer.concat([rawMember(unit, "0"), end]), { areBackslashesPlain: true })).map((one) => one.kind === "file" && one.path),
    [unit],
  );
});

const flipped = (bytes: Buffer, at: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
};
const good = Buffer.concat([rawMember("a", "0", { content: Buffer.from("content") }), end]);
const damages = [
  { what: "nothing at all", tar: Buffer.alloc(0), code: "format_invalid" },
  { what: "a truncated header", tar: good.subarray(0, 200), code: "format_invalid" },
  { what: "a truncated content", tar: good.subarray(0, 515), code: "format_invalid" },
  { what: "no end", tar: good.subarray(0, 1024), code: "format_invalid" },
  { what: "one end block", tar: good.subarray(0, 1536), code: "format_invalid" },
  { what: "bytes after the end", tar: Buffer.concat([good, rawMember("hidden", "0")]), code: "format_invalid" },
  { what: "a flipped bit in a header", tar: flipped(good, 3), code: "format_invalid" },
  { what: "a name record of 1 MiB", tar: Buffer.concat([rawMember("././@LongLink", "L", { content: Buffer.alloc(1 << 20, 97) }), good]), code: "format_limit" },
  { what: "a damaged PAX record", tar: Buffer.concat([rawMember("pax", "x", { content: Buffer.from("99 path=a\n") }), good]), code: "format_invalid" },
  {
    what: "a PAX size that is no number",
    tar: Buffer.concat([rawMember("pax", "x", { content: Buffer.from("13 size=-512\n") }), good]),
    code: "format_invalid",
  },
];
for (const { what, tar, code } of damages) {
  test(`a tar with ${what} throws ${code}`, async () => {
    await assert.rejects(rows(tar), { code });
  });
}

test("more members than the limit throw format_limit", async () => {
  const many = await tarOf(Array.from({ length: 11 }, (_, place) => ({ header: header(`f${place}`), content: "" })));
  await assert.rejects(rows(many, { memberLimit: 10 }), { code: "format_limit" });
  assert.equal((await rows(many, { memberLimit: 11 })).length, 11);
});

test("random bytes never do anything but throw format_invalid or format_limit", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 3000 }), fc.nat(1500), async (noise, at) => {
      const tar = Buffer.from(good);
      tar.set(noise.subarray(0, Math.max(0, tar.length - at)), Math.min(at, tar.length));
      await rows(tar).catch((error: unknown) => assert.match(codeOf(error), /^format_(invalid|limit)$/));
    }),
    { numRuns: 300 },
  );
});

test("the writer refuses what a header cannot hold", () => {
  assert.throws(() => tarHeader(header("a", { sizeBytes: 8 * 1024 ** 3 })), { code: "format_limit" });
  assert.throws(() => tarHeader(header("a", { owner: "o".repeat(32) })), { code: "format_limit" });
  assert.throws(() => tarHeader(header("a", { mode: 0o100644 })), { code: "recipe_invalid" });
});

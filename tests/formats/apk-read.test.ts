/** The apk reader against uploads that are not what they say: what apk 2 or 3 would refuse, skip or install in part is refused with its code. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import * as fc from "fast-check";
import { type ApkPackage, readApk } from "../../src/formats/apk-read.ts";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { createTarWriter, type TarHeader } from "../../src/formats/tar.ts";
import { verifyApkMember } from "../../src/trust/apk-signature.ts";
import { apkBytes, apkKey, nextApkKey } from "./apk-sample.ts";
import { gzipMembers } from "./apk-verifier.ts";
import { codeOf, sampleSpec } from "./sample.ts";

const read = (bytes: Uint8Array): Promise<ApkPackage> => readApk(bytesSource(bytes));
const sha1 = (content: string): string => createHash("sha1").update(content).digest("hex");

type Item = Partial<TarHeader> & { readonly name: string; readonly content?: string; readonly checksum?: string };

/** A tar as apk wants it: files and links with their checksum, unless the item says another one; `end: false` leaves the end away. */
async function tar(items: readonly Item[], end = true): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  const writer = createTarWriter((piece) => void pieces.push(Uint8Array.from(piece)));
  for (const { content, checksum, ...header } of items) {
    const kind = header.kind ?? "file";
    const right = kind === "directory" ? "" : sha1(kind === "symlink" ? (header.target ?? "") : (content ?? ""));
    const value = checksum ?? right;
    const pax = value === "" ? {} : { "APK-TOOLS.checksum.SHA1": value };
    await writer.add({ kind, mode: 0o644, epochSeconds: 0, pax, ...header }, kind === "file" ? bytesSource(Buffer.from(content ?? "")) : undefined);
  }
  if (end) await writer.end();
  return Buffer.concat(pieces);
}

const infoText = "pkgname = toy\npkgver = 1.0-r0\npkgdesc = d\nurl = \narch = x86_64\nsize = 7\nlicense = MIT\ndatahash = HASH\n";
const folder: Item = { name: "usr/", kind: "directory" };
const payload: readonly Item[] = [folder, { name: "usr/a", content: "content" }];

type Parts = {
  readonly info?: string;
  readonly control?: readonly Item[];
  readonly data?: Buffer;
  readonly items?: readonly Item[];
  readonly signatures?: Buffer;
  readonly hasControlEnd?: boolean;
};

/** An apk of parts, right where the test does not say otherwise. */
async function apk(parts: Parts = {}): Promise<Buffer> {
  const data = parts.data ?? gzipSync(await tar(parts.items ?? payload));
  const info = (parts.info ?? infoText).replace("HASH", createHash("sha256").update(data).digest("hex"));
  const control = gzipSync(await tar(parts.control ?? [{ name: ".PKGINFO", content: info, checksum: "" }], parts.hasControlEnd === true));
  return Buffer.concat([parts.signatures ?? Buffer.alloc(0), control, data]);
}
const script: Item = { name: ".post-install", content: "#!/bin/sh\n", mode: 0o755 };
const withInfo = (change: (text: string) => string): Promise<Buffer> => apk({ info: change(infoText) });
const control = async (others: readonly Item[], first = ".PKGINFO"): Promise<Buffer> => {
  const data = gzipSync(await tar(payload));
  const content = infoText.replace("HASH", createHash("sha256").update(data).digest("hex"));
  return apk({ data, control: [{ name: first, content }, ...others] });
};

test("a small apk made by hand is read whole, with and without signatures", async () => {
  const found = await read(await control([script]));
  assert.deepEqual([found.info.name, found.info.version, found.scripts, found.signatures], ["toy", "1.0-r0", [".post-install"], []]);
  assert.deepEqual(
    found.files.map(({ path, kind, sizeBytes }) => [path, kind, sizeBytes]),
    [
      ["/usr", "directory", 0],
      ["/usr/a", "file", 7],
    ],
  );
  const signatures = gzipSync(await tar([{ name: ".SIGN.RSA512.some@vendor-1.rsa.pub", content: "bytes" }], false));
  assert.deepEqual(
    (await read(await apk({ signatures }))).signatures.map(({ algorithm, keyFile }) => [algorithm, keyFile]),
    [["RSA512", "some@vendor-1.rsa.pub"]],
  );
});

test("folders without a slash and comments are read: melange and abuild write them", async () => {
  const found = await read(await apk({ items: [{ name: "usr", kind: "directory" }, ...payload.slice(1)], info: `# Generated\n${infoText}` }));
  assert.equal(found.files[0]?.path, "/usr");
});

const signatureOf = async (name: string, content = "x"): Promise<Buffer> => apk({ signatures: gzipSync(await tar([{ name, content }], false)) });
const attacks: readonly { readonly what: string; readonly bytes: () => Promise<Uint8Array> | Uint8Array; readonly code: string }[] = [
  { what: "nothing", bytes: () => Buffer.alloc(0), code: "format_invalid" },
  { what: "a deb", bytes: () => Buffer.from("!<arch>\n".padEnd(600)), code: "format_invalid" },
  { what: "a truncated end", bytes: async () => (await apk()).subarray(0, -20), code: "format_invalid" },
  { what: "no data", bytes: async () => gzipMembers(await apkBytes(sampleSpec()))[1]?.packed ?? Buffer.alloc(0), code: "format_invalid" },
  { what: "two data members (regression 3)", bytes: async () => Buffer.concat([await apk(), gzipSync(Buffer.alloc(1024))]), code: "format_invalid" },
  { what: "bytes behind its data", bytes: async () => Buffer.concat([await apk(), Buffer.from("tail")]), code: "format_invalid" },
  { what: "an end in its control segment (regression 4)", bytes: () => apk({ hasControlEnd: true }), code: "format_invalid" },
  { what: "data without an end", bytes: async () => apk({ data: gzipSync(await tar(payload, false)) }), code: "format_invalid" },
  { what: "the size 0 (regression 5)", bytes: () => withInfo((text) => text.replace("size = 7", "size = 0")), code: "format_invalid" },
  {
    what: "a link with the checksum of nothing (regression 6)",
    bytes: () => apk({ items: [folder, { name: "usr/l", kind: "symlink", target: "a", checksum: sha1("") }] }),
    code: "format_invalid",
  },
  { what: "a file without a checksum", bytes: () => apk({ items: [folder, { name: "usr/a", content: "x", checksum: "" }] }), code: "format_invalid" },
  { what: "a file without its folder (regression 7)", bytes: () => apk({ items: [{ name: "usr/a", content: "x" }] }), code: "format_invalid" },
  { what: "a dot file at the top (regression 8)", bytes: () => apk({ items: [{ name: ".hidden", content: "x" }] }), code: "format_invalid" },
  { what: "names that begin with ./", bytes: () => apk({ items: [{ name: "./usr/", kind: "directory" }] }), code: "format_invalid" },
  { what: "an absolute name", bytes: () => apk({ items: [{ name: "/usr/", kind: "directory" }] }), code: "path_unsafe" },
  { what: "a name that leaves the root", bytes: () => apk({ items: [{ name: "../evil", content: "x" }] }), code: "path_unsafe" },
  { what: "a name twice", bytes: () => apk({ items: [...payload, { name: "usr/a", content: "y" }] }), code: "path_unsafe" },
  {
    what: "a file below a link",
    bytes: () =>
      apk({
        items: [
          { name: "usr", kind: "symlink", target: "/etc" },
          { name: "usr/a", content: "x" },
        ],
      }),
    code: "path_unsafe",
  },
  { what: "another datahash", bytes: () => withInfo((text) => text.replace("HASH", "0".repeat(64))), code: "format_invalid" },
  { what: "no datahash", bytes: () => withInfo((text) => text.replace("datahash = HASH\n", "")), code: "format_invalid" },
  { what: "no name", bytes: () => withInfo((text) => text.replace("pkgname = toy\n", "")), code: "format_invalid" },
  { what: "a name with a slash", bytes: () => withInfo((text) => text.replace("toy", "../toy")), code: "format_invalid" },
  { what: "two names", bytes: () => withInfo((text) => `pkgname = other\n${text}`), code: "format_invalid" },
  { what: "a version that apk cannot compare (regression 10)", bytes: () => withInfo((text) => text.replace("1.0-r0", "1.0.0-rc.1")), code: "format_invalid" },
  {
    what: "a dependency on a version that apk cannot compare (regression 11)",
    bytes: () => withInfo((text) => `${text}depend = libc>=1.2.0_preview3\n`),
    code: "format_invalid",
  },
  { what: "an architecture with a slash", bytes: () => withInfo((text) => text.replace("x86_64", "../x")), code: "format_invalid" },
  { what: "a line without a value", bytes: () => withInfo((text) => `${text}nonsense\n`), code: "format_invalid" },
  { what: "a control character in a field", bytes: () => withInfo((text) => text.replace("pkgdesc = d", "pkgdesc = d\rC:evil")), code: "format_invalid" },
  { what: "fields that apk's database cannot hold", bytes: () => withInfo((text) => text.replace("= d", `= ${"d".repeat(2_000)}`)), code: "format_limit" },
  { what: "no .PKGINFO first", bytes: () => control([], ".pkginfo"), code: "format_invalid" },
  { what: "an unknown script", bytes: () => control([{ ...script, name: ".install" }]), code: "format_invalid" },
  { what: "a folder in its control segment", bytes: () => control([{ name: "etc/", kind: "directory" }]), code: "format_invalid" },
  { what: "a file of a folder in its control segment", bytes: () => control([{ name: "etc/passwd", content: "x" }]), code: "format_invalid" },
  { what: "a signature by a path", bytes: () => signatureOf(".SIGN.RSA256...rsa.pub"), code: "format_invalid" },
  { what: "an empty signature", bytes: () => signatureOf(".SIGN.RSA256.x.rsa.pub", ""), code: "format_invalid" },
  { what: "a signature of 70 KB", bytes: () => signatureOf(".SIGN.RSA256.x.rsa.pub", "x".repeat(70_000)), code: "format_invalid" },
  { what: "a control bomb", bytes: () => Buffer.concat([gzipSync(Buffer.alloc(9_000_000, "x")), Buffer.alloc(10)]), code: "format_invalid" },
  {
    what: "a script of 9 MB",
    bytes: () => control([{ ...script, content: `#!/bin/sh\n${"#".repeat(9_000_000)}` }]),
    code: "format_limit",
  },
];
for (const { what, bytes, code } of attacks) {
  test(`an upload with ${what} is refused with ${code}`, async () => {
    await assert.rejects(async () => read(await bytes()), { code });
  });
}

test("an apk whose bytes are flipped anywhere is refused as damage or no longer signed, never read as what was signed", async () => {
  const bytes = await apkBytes(sampleSpec());
  const signed = await read(bytes);
  assert.equal(verifyApkMember({ member: signed.controlBytes, signatures: signed.signatures }, [apkKey]).keyFile, apkKey.keyFile);
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ change;
      try {
        const found = await read(copy);
        verifyApkMember({ member: found.controlBytes, signatures: found.signatures }, [apkKey]);
        // Only what no signature covers may differ: the gzip header and the tar around the signatures.
        assert.deepEqual([found.identity, found.files, found.info], [signed.identity, signed.files, signed.info]);
      } catch (error) {
        assert.match(codeOf(error), /^(format_invalid|format_limit|path_unsafe|signature_invalid)$/);
      }
    }),
    { numRuns: 150 },
  );
});

test("signatures are judged by key and bytes: another key, other bytes, an unknown algorithm and none at all are refused", async () => {
  const { controlBytes: member, signatures } = await read(await apkBytes(sampleSpec()));
  const other = Buffer.from(member);
  other[20] = (other[20] ?? 0) ^ 1;
  const refused = (what: Parameters<typeof verifyApkMember>[0], trusted: Parameters<typeof verifyApkMember>[1], detail: string): void => {
    assert.throws(() => verifyApkMember(what, trusted), { code: "signature_invalid", detail });
  };
  refused({ member, signatures }, [nextApkKey], "signature_missing");
  refused({ member, signatures }, [], "signature_missing");
  refused({ member, signatures: [] }, [apkKey], "signature_missing");
  refused({ member: other, signatures }, [apkKey], "signature_bad");
  refused({ member, signatures: signatures.filter(({ algorithm }) => algorithm === "RSA") }, [apkKey], "signature_missing");
  // The right name on another key's signature.
  refused({ member, signatures: signatures.map((one) => ({ ...one, keyFile: nextApkKey.keyFile })) }, [nextApkKey], "signature_bad");
});

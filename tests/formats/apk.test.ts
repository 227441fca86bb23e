/** The apk writer against a verifier of its own, and against digests of packages that real apk-tools 2.14.10 and 3.0.6 accepted. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { readApk } from "../../src/formats/apk-read.ts";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { comparePaths } from "../../src/formats/entry-path.ts";
import type { PackageEntry } from "../../src/formats/package.ts";
import { type Architecture, architectures } from "../../src/model/target.ts";
import { parseVersion } from "../../src/model/version.ts";
import { apkBytes, apkKey, apkLoggingScripts, apkSamples, nextApkKey, signWith } from "./apk-sample.ts";
import { verifyApk } from "./apk-verifier.ts";
import { dependencies, file, longPaths, sampleEntries, sampleSpec } from "./sample.ts";

const keys = { [apkKey.keyFile]: apkKey.publicText, [nextApkKey.keyFile]: nextApkKey.publicText };
const link = (path: string, target: string): PackageEntry => ({ kind: "symlink", path, target, owner: "root", group: "root" });

/**
 * SHA-256 of each sample as apk-tools 2.14.10 and 3.0.6 verified, installed (scripts in their order and arguments), audited without a
 * finding, upgraded with an edited configuration kept, and deleted it. The compressor's version is part of the bytes.
 */
const blessed = {
  zlib: "1.3.2.1-motley-8002e91 x64",
  digests: {
    "toy-1.4.0_rc1-r0": "5d78d87f11e27d9f63bef31db0fc1204b369927062a213613990686bb022951a",
    "toy-1.4.0-r0": "191b8c1ea70ee86a617b9d391c1e5920272f1a6885c5ccd54666e2587174189a",
    "toy-shell-1.0.0-r3": "25498bfbd79b35422a669d70ce17b2a756985b48d0c654b7232b9c02553b24e8",
    "toy-links-1.4.0-r0": "97150ef669d9c02bb73f83ab4f896807b84fc8db5a464cf465542b769baf4d4d",
  },
} as const;

test("C11 the packages are byte for byte those that real apk 2.14 and 3.0 installed, upgraded, audited and deleted", async (t) => {
  if (`${process.versions.zlib} ${process.arch}` !== blessed.zlib)
    return t.skip(`blessed with zlib ${blessed.zlib}; another one packs the same contents in other bytes`);
  const digests: Record<string, string> = {};
  for (const [name, spec] of Object.entries(apkSamples))
    digests[name] = createHash("sha256")
      .update(await apkBytes(spec))
      .digest("hex");
  assert.deepEqual(digests, blessed.digests);
});

for (const [name, spec] of Object.entries(apkSamples)) {
  test(`C11 ${name} holds every rule of the format, and our reader agrees with the verifier (regression 3, 4, 5, 6, 7)`, async () => {
    const bytes = await apkBytes(spec);
    const verified = verifyApk(bytes, keys);
    const apk = await readApk(bytesSource(bytes));
    assert.equal(`${apk.info.name}-${apk.info.version}`, name);
    assert.equal(apk.identity, verified.identity);
    assert.equal(apk.sizes.packageBytes, bytes.length);
    assert.deepEqual(
      apk.files.map(({ path, kind, mode, owner, target }) => [path, kind, mode, owner, target ?? ""]),
      verified.entries.map(({ name: stored, type, mode, owner, target }) => [
        `/${stored.replace(/\/$/, "")}`,
        type === "5" ? "directory" : type === "2" ? "symlink" : "file",
        mode,
        owner,
        target,
      ]),
    );
    assert.deepEqual(apk.scripts, Object.keys(verified.scripts));
    assert.ok(verified.entries.every(({ mtime }) => mtime === spec.epochSeconds));
  });
}

test("C11 the signature segment has RSA256 before RSA, for each key in the order given", async () => {
  const bytes = await apkBytes(sampleSpec(), { signControl: signWith(nextApkKey, apkKey) });
  assert.deepEqual(verifyApk(bytes, keys).signatures, [
    `RSA256 ${nextApkKey.keyFile}`,
    `RSA ${nextApkKey.keyFile}`,
    `RSA256 ${apkKey.keyFile}`,
    `RSA ${apkKey.keyFile}`,
  ]);
  assert.deepEqual(verifyApk(await apkBytes(sampleSpec(), { signControl: undefined }), undefined).signatures, [], "unsigned: no empty segment either");
});

test("regression 3: data of many compressor blocks is one gzip member", async () => {
  const big = Buffer.alloc(3_000_000, "0123456789abcdef\n");
  const verified = verifyApk(await apkBytes(sampleSpec({ entries: [{ ...file("/opt/big", ""), source: bytesSource(big) }] })), keys);
  assert.equal(verified.entries.at(-1)?.content.length, big.length);
});

test("regression 5: packages of links, of empty files, of folders, and of nothing have a size above 0", async () => {
  const cases: readonly (readonly PackageEntry[])[] = [
    [link("/usr/bin/a", "b")],
    [file("/usr/share/empty", "")],
    [{ kind: "directory", path: "/var/lib/toy", mode: 0o755, owner: "root", group: "root" }],
    [],
  ];
  for (const entries of cases) {
    const { info } = verifyApk(await apkBytes(sampleSpec({ entries, scripts: apkLoggingScripts })), keys);
    assert.ok(Number(info.find(([key]) => key === "size")?.[1]) > 0);
  }
});

test("regression 6: a link's checksum is that of its target, also of one beyond 100 bytes and of one with letters of two bytes", async () => {
  const targets = ["toy", "../".repeat(60), "zürich/ß"];
  const entries = targets.map((target, place) => link(`/usr/bin/link${place}`, target));
  const verified = verifyApk(await apkBytes(sampleSpec({ entries })), keys);
  assert.deepEqual(
    verified.entries.filter(({ type }) => type === "2").map(({ target }) => target),
    targets,
  );
});

test("regression 7: every folder stands before what is in it, declared or not, and long names are whole (regression 17)", async () => {
  const names = verifyApk(await apkBytes(sampleSpec()), keys).entries.map(({ name }) => name);
  assert.ok(names.indexOf("usr/") < names.indexOf("usr/bin/") && names.indexOf("usr/bin/") < names.indexOf("usr/bin/toy"));
  for (const path of longPaths) assert.ok(names.includes(path.slice(1)));
  assert.ok(!names.includes("var/lib/toy/state"), "ghosts are not shipped");
});

const refusals: readonly { readonly what: string; readonly changes: Parameters<typeof sampleSpec>[0]; readonly code: string; readonly message: RegExp }[] = [
  {
    what: "regression 8: a dot file at the top",
    changes: { entries: [file("/.hidden", "x")] },
    code: "recipe_invalid",
    message: /begin with a dot: \/\.hidden/,
  },
  { what: "regression 8: a dot folder at the top", changes: { entries: [file("/.d/x", "x")] }, code: "recipe_invalid", message: /begin with a dot/ },
  { what: "a file that apk takes for a placeholder", changes: { entries: [file("/usr/.keep_x", "x")] }, code: "recipe_invalid", message: /\.keep_/ },
  {
    what: "a configuration outside /etc",
    changes: { entries: [file("/opt/toy.conf", "x", { config: "noreplace" })] },
    code: "recipe_invalid",
    message: /\/opt\/toy\.conf is a configuration outside \/etc/,
  },
  {
    what: "regression 10: a prerelease without an apk form",
    changes: { version: parseVersion("1.0.0-foo7") },
    code: "version_invalid",
    message: /"foo7" has no apk form/,
  },
  { what: "a release that is no number", changes: { release: "1.el9" }, code: "recipe_invalid", message: /has no apk form/ },
  {
    what: "regression 11: a dependency on a version that apk cannot compare",
    changes: { dependencies: { depends: dependencies("libc (>= 1.2.0-rc.1)") } },
    code: "recipe_invalid",
    message: /the version 1\.2\.0-rc\.1/,
  },
  { what: "alternatives", changes: { dependencies: { depends: dependencies("a | b") } }, code: "recipe_invalid", message: /alternatives/ },
  { what: "a bound in provides", changes: { dependencies: { provides: dependencies("a >= 1") } }, code: "recipe_invalid", message: /only = is allowed/ },
  {
    what: "a capability of rpm's",
    changes: { dependencies: { depends: dependencies("perl(Foo::Bar)") } },
    code: "recipe_invalid",
    message: /the name perl\(Foo::Bar\)/,
  },
  { what: "zstd", changes: { compression: { codec: "zstd", level: 3 } }, code: "recipe_invalid", message: /always gzip/ },
  { what: "a script that only rpm runs", changes: { scripts: { posttransaction: "#!/bin/sh\n" } }, code: "recipe_invalid", message: /apk never runs/ },
  { what: "a script without its first line", changes: { scripts: { preinstall: "echo\n" } }, code: "recipe_invalid", message: /interpreter/ },
  { what: "a second line in a field", changes: { summary: "toy\ndatahash = 0" }, code: "recipe_invalid", message: /one non-empty line/ },
  {
    what: "a file of 4 GiB (regression 23)",
    changes: { entries: [{ ...file("/opt/big", ""), source: { size: 2 ** 32, open: () => (async function* (): AsyncGenerator<Uint8Array> {})() } }] },
    code: "format_limit",
    message: /4294967296 bytes/,
  },
];
for (const { what, changes, code, message } of refusals) {
  test(`an apk cannot have ${what}`, async () => {
    await assert.rejects(apkBytes(sampleSpec(changes)), (error: Error & { code: string }) => {
      assert.match(error.message, message);
      assert.equal(error.code, code);
      return true;
    });
  });
}

test("regression 9: each architecture has apk's own word", async () => {
  const words: Readonly<Record<Architecture | "all", string>> = {
    amd64: "x86_64",
    arm64: "aarch64",
    "386": "x86",
    armv7: "armv7",
    riscv64: "riscv64",
    ppc64le: "ppc64le",
    s390x: "s390x",
    loong64: "loongarch64",
    all: "noarch",
  };
  for (const arch of [...(Object.keys(architectures) as Architecture[]), "all"] as const) {
    const { info } = verifyApk(await apkBytes(sampleSpec({ arch, entries: [] })), keys);
    assert.equal(info.find(([key]) => key === "arch")?.[1], words[arch]);
  }
});

test("regression 10: the version table, with a revision that is 0 unless the recipe counts", async () => {
  const table: readonly (readonly [string, string | undefined, string])[] = [
    ["1.2.0", undefined, "1.2.0-r0"],
    ["1.2.0", "4", "1.2.0-r4"],
    ["1.2.0-preview3", undefined, "1.2.0_pre3-r0"],
    ["1.2.0-preview10", undefined, "1.2.0_pre10-r0"],
    ["1.2.0-rc.1", undefined, "1.2.0_rc1-r0"],
    ["1.2.0-beta.2", undefined, "1.2.0_beta2-r0"],
    ["1.2.0+build5", undefined, "1.2.0-r0"],
    ["1.2.1-git.5.gabc1234", undefined, "1.2.1_alpha5-r0"],
    ["1.2.0-rc.1.git.5.gabc1234", undefined, "1.2.0_rc1_git5-r0"],
  ];
  for (const [version, release, expected] of table) {
    const spec = sampleSpec({ version: parseVersion(version), entries: [], ...(release === undefined ? {} : { release }) });
    assert.equal(verifyApk(await apkBytes(spec), keys).info.find(([key]) => key === "pkgver")?.[1], expected);
  }
});

test("J4 relations are apk's: a conflict is a dependency with !, advice is left out, scripts need the shell that runs them", async () => {
  const spec = sampleSpec({
    entries: [],
    scripts: { postinstall: "#!/bin/sh -e\ntrue\n" },
    dependencies: {
      depends: dependencies("docker (>= 20)", "so:libc.musl-x86_64.so.1"),
      conflicts: dependencies("rival (<< 2)"),
      provides: dependencies("cmd:toy = 1.4.0", "toys"),
      replaces: dependencies("old-toy"),
      recommends: dependencies("curl | wget"),
      suggests: dependencies("jq"),
    },
  });
  const { info } = verifyApk(await apkBytes(spec), keys);
  assert.deepEqual(
    info.filter(([key]) => ["depend", "provides", "replaces"].includes(key)).map((pair) => pair.join(" ")),
    [
      "depend !rival<2",
      "depend /bin/sh",
      "depend docker>=20",
      "depend so:libc.musl-x86_64.so.1",
      "provides cmd:toy=1.4.0",
      "provides toys",
      "replaces old-toy",
    ],
  );
});

test("J1 the same spec gives the same bytes, however its sources are cut", async () => {
  const cut = (entry: PackageEntry, size: number): PackageEntry => {
    if (entry.kind !== "file") return entry;
    const open = async function* (): AsyncGenerator<Uint8Array> {
      for await (const piece of entry.source.open()) for (let at = 0; at < piece.length; at += size) yield piece.subarray(at, at + size);
    };
    return { ...entry, source: { size: entry.source.size, open } };
  };
  const whole = await apkBytes(sampleSpec());
  for (const size of [1, 7, 512]) assert.ok(whole.equals(await apkBytes(sampleSpec({ entries: sampleEntries.map((entry) => cut(entry, size)) }))));
});

test("a source that changes between its hash and its content stops the package", async () => {
  let opened = 0;
  const open = async function* (): AsyncGenerator<Uint8Array> {
    opened += 1;
    yield Buffer.alloc(1_000_000, opened === 1 ? "first" : "other");
  };
  const entries = [{ ...file("/opt/x", ""), source: { size: 1_000_000, open } }];
  await assert.rejects(apkBytes(sampleSpec({ entries })), { code: "source_unusable", message: "/opt/x changed while it was read" });
});

test("any package that the writer takes passes the verifier and is read back as it was", async () => {
  const part = fc.stringMatching(/^[a-zA-Zö0-9_-][a-zA-Zö0-9_.-]{0,60}$/);
  const entry = fc.record({
    parts: fc.array(part, { minLength: 1, maxLength: 5 }),
    kind: fc.constantFrom("file", "symlink", "directory"),
    mode: fc.integer({ min: 0, max: 0o7777 }),
    content: fc.string({ maxLength: 1_500 }),
    target: fc.stringMatching(/^[a-z./ü]{1,150}$/),
    owner: fc.stringMatching(/^[a-z_][a-z0-9_-]{0,30}$/),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 12 }), async (made) => {
      const entries = made
        .map(({ parts, kind, mode, content, target, owner }, place): PackageEntry => {
          const common = { path: `/p${place}/${parts.join("/")}`, owner, group: owner };
          if (kind === "directory") return { kind, mode, ...common };
          return kind === "symlink" ? { kind, target, ...common } : { ...file(common.path, content), ...common, mode };
        })
        .sort((left, right) => comparePaths(left.path, right.path));
      const bytes = await apkBytes(sampleSpec({ entries }));
      verifyApk(bytes, keys);
      const { files } = await readApk(bytesSource(bytes));
      const paths = new Set(entries.map(({ path }) => path));
      assert.deepEqual(
        files.filter(({ path }) => paths.has(path)).map(({ path, kind, owner, sizeBytes, target }) => [path, kind, owner, sizeBytes, target]),
        entries.map((one) => [one.path, one.kind, one.owner, one.kind === "file" ? one.source.size : 0, one.kind === "symlink" ? one.target : undefined]),
      );
    }),
    { numRuns: 40 },
  );
});

/** Whole builds, looked at with the programs that customers have, and builds that must fail and leave nothing. */
import assert from "node:assert/strict";
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { requireCommand, runCommand } from "../../src/io/command.ts";
import { manifestSchema } from "../../src/model/manifest.ts";
import { generateMinisignKey, formatMinisignPublicKey } from "../../src/trust/minisign-key.ts";
import { generateOpenpgpKey, readSigningKey } from "../../src/trust/openpgp.ts";
import { createReleaseSigner } from "../../src/trust/release-signature.ts";
import { needClient } from "../support/clients.ts";
import { buildIn, epochSeconds, exampleProduct, planIn, sampleProduct, sampleRecipe, temporaryFolder } from "./fixture.ts";

const run = (...argv: readonly string[]): Promise<string> =>
  requireCommand(argv, { timeoutMs: 60_000, env: { PATH: process.env["PATH"] ?? "", TZ: "UTC", LC_ALL: "C" } });

const linuxAmd64 = { os: "linux", arch: "amd64" } as const;

test("J3 dpkg-deb shows the files with their owners, modes and the configuration as a conffile", async (t) => {
  if (!needClient(t, "dpkg-deb")) return;
  const folder = await sampleProduct(t);
  const result = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["deb"], targets: [linuxAmd64] }));
  const deb = join(result.folder, "acme_1.4.2_amd64.deb");
  const listed = (await run("dpkg-deb", "-c", deb))
    .trimEnd()
    .split("\n")
    .map((line) => line.split(/\s+/));
  const modes = new Map(listed.map((words) => [words[5], `${words[0]} ${words[1]}`]));
  assert.equal(modes.get("./usr/bin/acme"), "-rwxr-xr-x root/root");
  assert.equal(modes.get("./etc/acme/acme.yaml"), "-rw-r----- root/root");
  assert.equal(modes.get("./usr/share/acme/GUIDE.md"), "-rw-r--r-- root/root", "a checkout's 0664 stays out");
  assert.equal(modes.get("./usr/share/acme/tree/run.sh"), "-rwxr-xr-x root/root", "a script is recognised by its first line");
  assert.equal(modes.get("./usr/share/acme/tree/one/file.txt"), "-rw-r--r-- root/root");
  assert.equal(modes.get("./var/lib/acme/"), "drwxr-x--- root/root");
  assert.equal(modes.get("./usr/bin/acme-link"), "lrwxrwxrwx root/root");
  assert.ok(modes.has("./usr/share/doc/acme/copyright") && modes.has("./usr/share/doc/acme/changelog.gz"));
  assert.equal(await run("dpkg-deb", "-I", deb, "conffiles"), "/etc/acme/acme.yaml\n");
  assert.match(await run("dpkg-deb", "-f", deb, "Depends"), /^docker\.io \| docker-ce$/m);
});

test("J3 rpm shows the same files, the configuration as %config(noreplace), and owns no folder of the system", async (t) => {
  if (!needClient(t, "rpm")) return;
  const folder = await sampleProduct(t);
  const result = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["rpm"] }));
  const rpm = join(result.folder, "acme-1.4.2-1.aarch64.rpm");
  const listed = (await run("rpm", "-qp", "--nosignature", "--qf", "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME} %{FILEFLAGS:fflags}\n]", rpm))
    .trimEnd()
    .split("\n");
  assert.deepEqual(
    listed.map((line) => line.trimEnd()),
    [
      "/etc/acme/acme.yaml -rw-r----- root cn",
      "/usr/bin/acme -rwxr-xr-x root",
      "/usr/bin/acme-link lrwxrwxrwx root",
      "/usr/bin/acmed -rwxr-xr-x root",
      "/usr/lib/systemd/system/acme.service -rw-r--r-- root",
      "/usr/share/acme/GUIDE.md -rw-r--r-- root",
      "/usr/share/acme/OTHER.md -rw-r--r-- root",
      "/usr/share/acme/tree drwxr-xr-x root",
      "/usr/share/acme/tree/one drwxr-xr-x root",
      "/usr/share/acme/tree/one/file.txt -rw-r--r-- root",
      "/usr/share/acme/tree/run.sh -rwxr-xr-x root",
      "/usr/share/licenses/acme drwxr-xr-x root",
      "/usr/share/licenses/acme/LICENSE -rw-r--r-- root l",
      "/var/lib/acme drwxr-x--- root",
    ],
  );
  assert.match(await run("rpm", "-qp", "--nosignature", "--requires", rpm), /^\/usr\/bin\/docker$/m);
});

test("C5 the sums list every file but themselves, sha256sum accepts them, and release.json is read by its schema", async (t) => {
  if (!needClient(t, "sha256sum", "tar", "unzip")) return;
  const folder = await sampleProduct(t);
  const result = await buildIn(folder, await planIn(folder, "1.4.2"));
  const listed = (await readFile(join(result.folder, "SHA256SUMS"), "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => line.slice(66));
  assert.deepEqual(listed, (await readdir(result.folder)).filter((name) => name !== "SHA256SUMS").sort());
  await requireCommand(["sha256sum", "-c", "--strict", "SHA256SUMS"], { cwd: result.folder, timeoutMs: 60_000 });
  const manifest = manifestSchema.parse(JSON.parse(await readFile(join(result.folder, "release.json"), "utf8")));
  assert.deepEqual(
    [manifest.version, manifest.tag, manifest.channel, manifest.sequence, manifest.createdAt],
    ["1.4.2", "v1.4.2", "stable", epochSeconds, "2023-11-14T22:13:20.000Z"],
  );
  const archive = manifest.artifacts.find((artifact) => artifact.name === "acme-1.4.2-linux-amd64.tar.gz");
  assert.deepEqual(
    archive?.files?.map((file) => [file.path, file.mode]),
    [
      ["GUIDE.md", 0o644],
      ["LICENSE", 0o644],
      ["acme", 0o755],
      ["acmed", 0o755],
    ],
  );
  const unpacked = await temporaryFolder(t);
  await run("tar", "-xzf", join(result.folder, "acme-1.4.2-linux-amd64.tar.gz"), "-C", unpacked);
  assert.equal(await run(join(unpacked, "acme")), "acme 1.4.2 linux/amd64\n");
  assert.equal((await run("sha256sum", join(unpacked, "acme"))).slice(0, 64), archive?.files?.find((file) => file.path === "acme")?.sha256);
  assert.deepEqual((await run("unzip", "-Z1", join(result.folder, "acme-1.4.2-windows-amd64.zip"))).trimEnd().split("\n"), [
    "GUIDE.md",
    "LICENSE",
    "acme.exe",
    "acmed.exe",
  ]);
  assert.equal((await stat(join(result.folder, "acme-1.4.2-darwin-arm64"))).mode & 0o777, 0o755);
});

for (const [name, version, artifacts] of [
  ["jaco", "0.2.0", 8],
  ["coequal", "1.4.2", 11],
  ["carapace", "0.3.0-preview1", 6],
] as const) {
  test(`J6 the example ${name} builds as its README says`, async (t) => {
    const folder = await exampleProduct(t, name);
    const result = await buildIn(folder, await planIn(folder, version));
    assert.equal(result.manifest.artifacts.length, artifacts);
    assert.deepEqual((await readdir(result.folder)).sort(), [...result.files].sort());
  });
}

test("J2 minisign accepts the signature over the sums, with the trusted comment that binds the release", async (t) => {
  if (!needClient(t, "minisign")) return;
  const folder = await exampleProduct(t, "jaco");
  const key = generateMinisignKey();
  const signer = createReleaseSigner({ minisign: key, epochSeconds });
  const result = await buildIn(folder, await planIn(folder, "0.2.0", { isUnsigned: false }), { signer });
  const publicKey = join(folder, "jaco.pub");
  await writeFile(publicKey, formatMinisignPublicKey(key));
  assert.match(
    await run("minisign", "-V", "-m", join(result.folder, "SHA256SUMS"), "-p", publicKey),
    /Trusted comment: product:jaco version:0\.2\.0 seq:1700000000 sums:sha256:[0-9a-f]{64}/,
  );
  assert.ok(result.files.includes("SHA256SUMS.minisig"));
});

test("C14 gpg accepts SHA256SUMS.sig, sha256sum the files, and rpmkeys the signature in the rpm header", async (t) => {
  if (!needClient(t, "gpgv", "rpmkeys", "sha256sum")) return;
  const folder = await exampleProduct(t, "coequal");
  const now = new Date(epochSeconds * 1000);
  const made = await generateOpenpgpKey({ userId: "Coequal Release <release@coequal.example>", algorithm: "ed25519", now });
  const openpgp = await readSigningKey(Buffer.from(made.secretKey), { now });
  const signer = createReleaseSigner({ openpgp, epochSeconds });
  const plan = await planIn(folder, "1.4.2", { isUnsigned: false });
  const result = await buildIn(folder, plan, { signer });
  assert.deepEqual(result.files.toSorted(), [...plan.artifacts, ...plan.records].map((one) => one.name).toSorted(), "what was planned is what came out");
  const publicKey = join(folder, "coequal.asc");
  await writeFile(publicKey, made.publicKey);
  const keyring = join(folder, "coequal.gpg");
  await run("gpg", "--batch", "--yes", "--homedir", folder, "-o", keyring, "--dearmor", publicKey);
  await requireCommand(["gpgv", "--keyring", keyring, "SHA256SUMS.sig", "SHA256SUMS"], { cwd: result.folder, timeoutMs: 60_000 });
  await requireCommand(["sha256sum", "-c", "--ignore-missing", "SHA256SUMS"], { cwd: result.folder, timeoutMs: 60_000 });
  const database = join(folder, "rpmdb");
  await run("rpmkeys", "--dbpath", database, "--import", publicKey);
  for (const name of ["coequal-1.4.2-1.x86_64.rpm", "coequal-1.4.2-1.aarch64.rpm"]) {
    assert.match(await run("rpmkeys", "--dbpath", database, "--define", "_pkgverify_level all", "-K", join(result.folder, name)), /: digests signatures OK$/m);
  }
});

test("a plan with a signature and a signer without its key builds nothing", async (t) => {
  const folder = await exampleProduct(t, "jaco");
  const plan = await planIn(folder, "0.2.0", { isUnsigned: false });
  await assert.rejects(buildIn(folder, plan, { signer: createReleaseSigner({ epochSeconds }) }), { code: "key_missing" });
  assert.ok(!(await readdir(folder)).includes("dist"));
});

/** A program header of a given format and machine, as far as natureOf looks. */
function programHeader(kind: "elf-arm64" | "pe-amd64"): Buffer {
  const bytes = Buffer.alloc(256);
  if (kind === "elf-arm64") {
    bytes.write("7f454c46020101", 0, "hex");
    bytes.writeUInt16LE(183, 18);
  } else {
    bytes.write("MZ", 0, "latin1");
    bytes.writeUInt32LE(128, 60);
    bytes.write("PE\0\0", 128, "latin1");
    bytes.writeUInt16LE(0x8664, 132);
  }
  return bytes;
}

const prebuilt = sampleRecipe.replace(/ {2}run: .*\n/, '  prebuilt: "bin/{os}-{arch}/{bin}{exe}"\n');

/** What is wrong with the folder, and what the build must say. Each runs against a folder that holds an older build. */
const failures: readonly {
  readonly name: string;
  readonly recipe?: string;
  readonly spoil: (folder: string) => Promise<void>;
  readonly error: { readonly code: string; readonly exitCode: number; readonly place: string; readonly message: RegExp };
}[] = [
  {
    name: "a missing source",
    recipe: sampleRecipe.replace("packaging/acme.service", "packaging/absent.service"),
    spoil: async () => undefined,
    error: { code: "source_missing", exitCode: 3, place: "slipway.yaml:16:43", message: /there is no packaging\/absent\.service/ },
  },
  {
    name: "a pattern that matches nothing",
    recipe: sampleRecipe.replace("docs/*.md", "docs/*.rst"),
    spoil: async () => undefined,
    error: { code: "source_missing", exitCode: 3, place: "slipway.yaml:18:23", message: /nothing matches docs\/\*\.rst/ },
  },
  {
    name: "a missing prebuilt binary",
    recipe: prebuilt,
    spoil: async () => undefined,
    error: { code: "source_missing", exitCode: 3, place: "slipway.yaml:7:13", message: /there is no bin\/linux-amd64\/acme for linux\/amd64/ },
  },
  {
    name: "a binary for another machine",
    recipe: prebuilt.replace("[acme, acmed]\nbinaries", "[acme]\nbinaries").replace("/usr/bin/: [acme, acmed]", "/usr/bin/: [acme]"),
    spoil: async (folder) => {
      await mkdir(join(folder, "bin/linux-amd64"), { recursive: true });
      await writeFile(join(folder, "bin/linux-amd64/acme"), programHeader("elf-arm64"));
    },
    error: { code: "source_unusable", exitCode: 3, place: "slipway.yaml:7:13", message: /is a program for linux\/arm64 \(ELF\), not for linux\/amd64/ },
  },
  {
    name: "a build command that fails",
    spoil: (folder) => writeFile(join(folder, "make.sh"), "echo compiling; echo cannot find -lssl >&2; exit 7\n"),
    error: { code: "build_failed", exitCode: 3, place: "slipway.yaml:7:8", message: /^sh for linux\/amd64: exit 7\ncannot find -lssl$/ },
  },
  {
    name: "a build command that writes nothing",
    spoil: (folder) => writeFile(join(folder, "make.sh"), "exit 0\n"),
    error: { code: "source_missing", exitCode: 3, place: "slipway.yaml:7:8", message: /the build command wrote no acme for linux\/amd64/ },
  },
  {
    name: "a setuid bit that nobody asked for",
    spoil: (folder) => chmod(join(folder, "packaging/acme.service"), 0o4755),
    error: {
      code: "source_unusable",
      exitCode: 3,
      place: "slipway.yaml:16:43",
      message: /acme\.service has the mode 4755 with setuid, setgid or sticky, which nobody asked for/,
    },
  },
  {
    name: "a link out of the folder",
    recipe: sampleRecipe.replace("packaging/acme.service", "packaging/link"),
    spoil: (folder) => symlink("/etc/passwd", join(folder, "packaging/link")),
    error: { code: "path_unsafe", exitCode: 2, place: "slipway.yaml:16:43", message: /packaging\/link is a link out of the recipe's folder/ },
  },
  {
    name: "a folder and a file that write the same path",
    recipe: sampleRecipe.replace("/usr/bin/acme-link:", "/usr/share/acme/tree/one/file.txt:"),
    spoil: async () => undefined,
    error: {
      code: "recipe_invalid",
      exitCode: 2,
      place: "slipway.yaml:20:40",
      message: /tree\/one\/file\.txt \(slipway\.yaml:19:27\) and link to acme both write \/usr\/share\/acme\/tree\/one\/file\.txt/,
    },
  },
  {
    name: "a script without its first line",
    spoil: (folder) => writeFile(join(folder, "packaging/postinstall.sh"), "systemctl daemon-reload\n"),
    error: { code: "source_unusable", exitCode: 3, place: "slipway.yaml:23:18", message: /postinstall\.sh does not begin with #!/ },
  },
  {
    name: "notes without a section",
    recipe: `notes: { file: "docs/{tag}.md", sections: [Summary, Migration Steps] }\n${sampleRecipe}`,
    spoil: (folder) => writeFile(join(folder, "docs/v1.4.2.md"), "## Summary\nfine\n"),
    error: { code: "source_unusable", exitCode: 3, place: "slipway.yaml:1:16", message: /docs\/v1\.4\.2\.md lacks "## Migration Steps"/ },
  },
];

for (const { name, recipe, spoil, error } of failures) {
  test(`a build with ${name} fails at the recipe's line and leaves dist/ as it was`, async (t) => {
    const folder = await sampleProduct(t, recipe);
    await mkdir(join(folder, "dist/1.4.2"), { recursive: true });
    await writeFile(join(folder, "dist/1.4.2/older"), "kept");
    await spoil(folder);
    const plan = await planIn(folder, "1.4.2");
    await assert.rejects(buildIn(folder, plan), (thrown: Error & { code: string; exitCode: number; place: string }) => {
      assert.match(thrown.message, error.message);
      assert.deepEqual([thrown.code, thrown.exitCode, thrown.place], [error.code, error.exitCode, error.place]);
      return true;
    });
    assert.deepEqual(await readdir(join(folder, "dist")), ["1.4.2"]);
    assert.deepEqual(await readdir(join(folder, "dist/1.4.2")), ["older"]);
  });
}

test("a stop in the middle leaves nothing half-done", async (t) => {
  const folder = await sampleProduct(t);
  const controller = new AbortController();
  const plan = await planIn(folder, "1.4.2");
  const building = buildIn(folder, plan, { signal: controller.signal, jobs: 1, onArtifact: () => controller.abort() });
  await assert.rejects(building, { code: "interrupted", exitCode: 130 });
  assert.ok(!(await readdir(folder)).includes("dist"));
});

test("a stop during the build command ends it", async (t) => {
  const folder = await sampleProduct(t);
  await writeFile(join(folder, "make.sh"), "sleep 60\n");
  const controller = new AbortController();
  const plan = await planIn(folder, "1.4.2");
  const started = performance.now();
  await assert.rejects(buildIn(folder, plan, { signal: controller.signal, onCommand: () => setTimeout(() => controller.abort(), 50) }), {
    code: "interrupted",
  });
  assert.ok(performance.now() - started < 20_000);
});

test("a newer build of the same version takes the place of the older one, and leftovers of a killed one go", async (t) => {
  const folder = await sampleProduct(t);
  await mkdir(join(folder, "dist/1.4.2"), { recursive: true });
  await writeFile(join(folder, "dist/1.4.2/older"), "gone");
  await mkdir(join(folder, "dist/.1.4.2.tmp-999999999-abcd/files"), { recursive: true });
  const result = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["binary"] }));
  assert.deepEqual(await readdir(join(folder, "dist")), ["1.4.2"]);
  assert.deepEqual((await readdir(result.folder)).includes("older"), false);
});

test("the build command gets a small environment: the target in Go's words and ours, the recipe's own, the time", async (t) => {
  const recipe = sampleRecipe.replace("  binaries: [acme, acmed]", '  env: { FLAG: "-X {version}" }\n  binaries: [acme, acmed]');
  const folder = await sampleProduct(t, recipe);
  await writeFile(join(folder, "make.sh"), '{ echo "#!/bin/sh"; env | sort; } > "$4"\n');
  process.env["SLIPWAY_TEST_SECRET"] = "must not travel";
  t.after(() => delete process.env["SLIPWAY_TEST_SECRET"]);
  const result = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["binary"], targets: [{ os: "darwin", arch: "arm64" }] }), { run: runCommand });
  const seen = await readFile(join(result.folder, "acme-1.4.2-darwin-arm64"), "utf8");
  for (const line of [
    "GOOS=darwin",
    "GOARCH=arm64",
    "FLAG=-X 1.4.2",
    "SOURCE_DATE_EPOCH=1700000000",
    "TZ=UTC",
    "LC_ALL=C",
    "SLIPWAY_TAG=v1.4.2",
    "SLIPWAY_BIN=acme",
  ]) {
    assert.ok(seen.split("\n").includes(line), `${line} is missing`);
  }
  assert.ok(!seen.includes("SLIPWAY_TEST_SECRET"));
});

/** What a recipe can say of packages beyond plain files, read back by dpkg, rpm and gpg from what was built. */
import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { cleanEnvironment, requireCommand, runCommand } from "../../src/io/command.ts";
import { generateOpenpgpKey, readSigningKey } from "../../src/trust/openpgp.ts";
import { createReleaseSigner } from "../../src/trust/release-signature.ts";
import { needClient } from "../support/clients.ts";
import { gpgFolder } from "../support/gpg.ts";
import { buildIn, epochSeconds, planIn, sampleProduct, sampleRecipe, temporaryFolder, writeFiles } from "./fixture.ts";

const run = (...argv: readonly string[]): Promise<string> =>
  requireCommand(argv, { timeoutMs: 60_000, env: { PATH: process.env["PATH"] ?? "", TZ: "UTC", LC_ALL: "C.UTF-8" } });

const linux = [{ os: "linux", arch: "amd64" }] as const;

/** The sample's packages with these lines added below `packages:`. */
const withPackageKeys = (lines: string, recipe = sampleRecipe): string => recipe.replace("  depends:\n", `${lines}  depends:\n`);
const withFiles = (lines: string): string => sampleRecipe.replace("    /usr/bin/acme-link:", `${lines}    /usr/bin/acme-link:`);

test("J3 ghosts, documents, licences, owned folders, links, modes and owners of the recipe are in rpm's header, and the ghost is in no payload (regression 24)", async (t) => {
  if (!needClient(t, "rpm", "dpkg-deb")) return;
  const folder = await sampleProduct(
    t,
    withFiles(
      `    /var/lib/acme/state.db: { ghost: true, mode: "0600", owner: acme, group: acme }
    /usr/share/acme/manual.md: { from: docs/GUIDE.md, doc: true }
    /usr/share/acme/terms.md: { from: LICENSE, license: true, owner: acme, mode: "0440" }
`,
    ),
  );
  const { folder: out } = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["deb", "rpm"], targets: linux }));
  const rpm = join(out, "acme-1.4.2-1.x86_64.rpm");
  const listed = await run(
    "rpm",
    "-qp",
    "--nosignature",
    "--qf",
    "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags}\n]",
    rpm,
  );
  const lines = listed.split("\n").map((line) => line.trimEnd());
  for (const line of [
    "/var/lib/acme/state.db -rw------- acme:acme g",
    "/usr/share/acme/manual.md -rw-r--r-- root:root d",
    "/usr/share/acme/terms.md -r--r----- acme:root l",
    "/usr/bin/acme-link lrwxrwxrwx root:root",
    "/var/lib/acme drwxr-x--- root:root",
  ]) {
    assert.ok(lines.includes(line), `${line} in ${listed}`);
  }
  const payload = await run("sh", "-c", `rpm2cpio "${rpm}" | cpio -t --quiet`);
  assert.match(payload, /manual\.md/);
  assert.doesNotMatch(payload, /state\.db/);
  assert.doesNotMatch(await run("dpkg-deb", "-c", join(out, "acme_1.4.2_amd64.deb")), /state\.db/);
});

test("J4 relations of every kind are printed in each format's own words", async (t) => {
  if (!needClient(t, "rpm", "dpkg-deb")) return;
  const keys = `  recommends: [jq]
  suggests: [yq (>= 4)]
  conflicts: { deb: [acme-old (<< 1)], rpm: [acme-old (<< 1)] }
  provides: [acme-api (= 2)]
  replaces: [acme-legacy (<= 0.9)]
`;
  const folder = await sampleProduct(t, withPackageKeys(keys));
  const { folder: out } = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["deb", "rpm"], targets: linux }));
  const control = await run("dpkg-deb", "-f", join(out, "acme_1.4.2_amd64.deb"));
  for (const field of [
    "Depends: docker.io | docker-ce",
    "Recommends: jq",
    "Suggests: yq (>= 4)",
    "Conflicts: acme-old (<< 1)",
    "Provides: acme-api (= 2)",
    "Replaces: acme-legacy (<= 0.9)",
  ]) {
    assert.ok(control.split("\n").includes(field), `${field} in\n${control}`);
  }
  const query = (kind: string): Promise<string> => run("rpm", "-qp", "--nosignature", kind, join(out, "acme-1.4.2-1.x86_64.rpm"));
  assert.equal(await query("--recommends"), "jq\n");
  assert.equal(await query("--suggests"), "yq >= 4\n");
  assert.equal(await query("--conflicts"), "acme-old < 1\n");
  assert.match(await query("--provides"), /^acme-api = 2$/m);
  assert.equal(await query("--obsoletes"), "acme-legacy <= 0.9\n");
});

test("triggers of the recipe are the deb's alone", async (t) => {
  if (!needClient(t, "dpkg-deb")) return;
  const keys = "  triggers: { interest-noawait: [/usr/share/acme/plugins], activate: [acme-cache] }\n";
  const folder = await sampleProduct(t, withPackageKeys(keys));
  const { folder: out } = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["deb", "rpm"], targets: linux }));
  assert.equal(await run("dpkg-deb", "-I", join(out, "acme_1.4.2_amd64.deb"), "triggers"), "interest-noawait /usr/share/acme/plugins\nactivate acme-cache\n");
});

test("the changelog of deb and rpm is the list of the release's notes", async (t) => {
  if (!needClient(t, "dpkg-parsechangelog", "rpm")) return;
  const folder = await sampleProduct(t, `notes: { file: "notes/{tag}.md" }\n${withPackageKeys("  release: 2\n")}`);
  const notes = "# 1.4.2\n\nIntroduction.\n\n- Starts faster: **half** the time\n  on small machines\n* Fixes a leak\n\n```\n- no item\n```\n";
  await writeFiles(folder, { "notes/v1.4.2.md": notes });
  const { folder: out } = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["deb", "rpm"], targets: linux }));
  const rpm = await run("rpm", "-qp", "--nosignature", "--changelog", join(out, "acme-1.4.2-2.x86_64.rpm"));
  assert.match(rpm, /^\* Tue Nov 14 2023 Acme <release@acme\.example> - 1\.4\.2-2\n- Starts faster: \*\*half\*\* the time on small machines\n- Fixes a leak\n/);
  const unpacked = await temporaryFolder(t);
  await run("dpkg-deb", "-x", join(out, "acme_1.4.2-2_amd64.deb"), unpacked);
  assert.deepEqual((await readdir(join(unpacked, "usr/share/doc/acme"))).sort(), ["changelog.Debian.gz", "copyright"]);
  const text = await run("zcat", join(unpacked, "usr/share/doc/acme/changelog.Debian.gz"));
  await writeFile(join(unpacked, "changelog"), text);
  const parsed = await run("dpkg-parsechangelog", "-l", join(unpacked, "changelog"));
  assert.match(parsed, /^Version: 1\.4\.2-2$/m);
  assert.match(parsed, /\* Starts faster: \*\*half\*\* the time on small machines\n\s+\* Fixes a leak/);
  const copyright = await readFile(join(unpacked, "usr/share/doc/acme/copyright"), "utf8");
  assert.match(copyright, /common-licenses\/Apache-2\.0/);
});

test("the changelog of git has this release and those before it, newest first, each with its commits; a shallow clone is refused", async (t) => {
  if (!needClient(t, "git", "rpm")) return;
  const folder = await sampleProduct(t, withPackageKeys("  changelog: git\n"));
  const git = (seconds: number, ...args: readonly string[]): Promise<string> =>
    requireCommand(["git", "-c", "user.name=T", "-c", "user.email=t@example.test", ...args], {
      cwd: folder,
      timeoutMs: 30_000,
      env: { ...cleanEnvironment(), GIT_COMMITTER_DATE: `${seconds} +0000`, GIT_AUTHOR_DATE: `${seconds} +0000` },
    });
  await git(1_670_000_001, "init", "-q", "-b", "main");
  await git(1_670_000_001, "add", ".");
  await git(1_600_000_000, "commit", "-qm", "First words");
  await git(1_600_000_001, "tag", "-a", "v1.0.0", "-m", "v1.0.0");
  for (const [seconds, subject, tag] of [
    [1_650_000_000, "Second: faster", "v1.1.0-rc.1"],
    [1_660_000_000, "Third: leaner", "v1.1.0"],
    [1_670_000_000, "Fourth: calmer", undefined],
  ] as const) {
    await git(seconds, "commit", "-q", "--allow-empty", "-m", subject);
    if (tag !== undefined) await git(seconds, "tag", tag);
  }
  await git(1_670_000_001, "tag", "v9.0.0", "v1.0.0"); // a newer version on an older commit is none of this release's past
  const plan = await planIn(folder, "1.2.0", { only: ["rpm"], targets: linux });
  const { folder: out } = await buildIn(folder, plan);
  const said = await run("rpm", "-qp", "--nosignature", "--changelog", join(out, "acme-1.2.0-1.x86_64.rpm"));
  assert.deepEqual(
    said.split("\n").filter((line) => line !== ""),
    [
      "* Tue Nov 14 2023 Acme <release@acme.example> - 1.2.0-1",
      "- Fourth: calmer",
      "* Mon Aug 08 2022 Acme <release@acme.example> - 1.1.0-1",
      "- Third: leaner",
      "* Fri Apr 15 2022 Acme <release@acme.example> - 1.1.0~rc.1-1",
      "- Second: faster",
      "* Sun Sep 13 2020 Acme <release@acme.example> - 1.0.0-1",
      "- First words",
    ],
  );
  const shallow = join(await temporaryFolder(t), "shallow");
  await git(1_670_000_001, "clone", "-q", "--depth=1", `file://${folder}`, shallow);
  await assert.rejects(buildIn(shallow, plan), { code: "source_unusable", place: "slipway.yaml:24:14", message: /this clone is shallow/ });
});

test("J1 names: gives the literal reading, amd64 in every format, and no name may hold a tilde (regression 9, 21)", async (t) => {
  const names = `  names: { rpm: "{name}-{version}-1.{arch}.rpm", apk: "{name}_{version}_{arch}.apk" }\n`;
  const all = sampleRecipe.replace("[deb, rpm]", "[deb, rpm, apk]").replace("    rpm: [/usr/bin/docker]\n", "    rpm: [/usr/bin/docker]\n    apk: [docker]\n");
  const folder = await sampleProduct(t, withPackageKeys(names, all));
  const planned = await planIn(folder, "0.2.0", { only: ["deb", "rpm", "apk"] });
  assert.deepEqual(
    planned.artifacts.map(({ name }) => name),
    ["amd64", "arm64"].flatMap((arch) => [`acme_0.2.0_${arch}.deb`, `acme-0.2.0-1.${arch}.rpm`, `acme_0.2.0_${arch}.apk`]),
  );
  await writeFile(join(folder, "slipway.yaml"), withPackageKeys('  names: { deb: "{name}~{version}_{arch}.deb" }\n'));
  await assert.rejects(planIn(folder, "0.2.0"), { code: "recipe_invalid", message: /"acme~0\.2\.0_amd64\.deb" is not an artifact name/ });
});

test("debsigs: gpg verifies _gpgorigin over what `ar p` gives, for RSA and Ed25519; dpkg and our reader still take the package", async (t) => {
  if (!needClient(t, "gpg", "ar", "dpkg-deb")) return;
  const signed = withPackageKeys("  debsigs: true\n", sampleRecipe.replace("archives:", "sign: { gpg: key:acme }\narchives:"));
  for (const algorithm of ["ed25519", "rsa4096"] as const) {
    const folder = await sampleProduct(t, signed);
    const now = new Date(epochSeconds * 1000);
    const made = await generateOpenpgpKey({ userId: "Acme <release@acme.example>", algorithm, now });
    const signer = createReleaseSigner({ openpgp: await readSigningKey(Buffer.from(made.secretKey), { now }), epochSeconds });
    const plan = await planIn(folder, "1.4.2", { only: ["deb"], targets: linux, isUnsigned: false });
    const { folder: out } = await buildIn(folder, plan, { signer });
    const deb = join(out, "acme_1.4.2_amd64.deb");
    assert.equal(await run("ar", "t", deb), "debian-binary\ncontrol.tar.gz\ndata.tar.gz\n_gpgorigin\n");
    await run("dpkg-deb", "-c", deb);
    const keys = await gpgFolder(t);
    await keys.write("acme.asc", made.publicKey);
    assert.equal((await keys.gpg(["--import", "acme.asc"])).exitCode, 0);
    await run(
      "sh",
      "-c",
      `ar p "${deb}" debian-binary control.tar.gz data.tar.gz > "${keys.path}/signed"; ar p "${deb}" _gpgorigin > "${keys.path}/signed.sig"`,
    );
    const verified = await keys.gpg(["--verify", "signed.sig", "signed"]);
    assert.match(verified.stdout, /GOODSIG/, verified.stderr);
    await keys.run(["sh", "-c", "printf x >> signed"]);
    assert.match((await keys.gpg(["--verify", "signed.sig", "signed"])).stdout, /BADSIG/);
  }
});

test("xz: dpkg-deb and rpm read the packages, tar the archive, and two builds are the same; without the program the message says what to install", async (t) => {
  if (!needClient(t, "xz", "dpkg-deb", "rpm", "tar")) return;
  const recipe = withPackageKeys("  compression: xz:2\n").replace("  - files:", '  - name: "{name}-{version}-{os}-{arch}.tar.xz"\n    files:');
  const folder = await sampleProduct(t, recipe);
  const plan = await planIn(folder, "1.4.2", { only: ["deb", "rpm", "archive"], targets: linux });
  const first = await buildIn(folder, plan);
  assert.match(await run("dpkg-deb", "-c", join(first.folder, "acme_1.4.2_amd64.deb")), /usr\/bin\/acmed/);
  assert.match(await run("rpm", "-qp", "--nosignature", "--qf", "%{PAYLOADCOMPRESSOR}", join(first.folder, "acme-1.4.2-1.x86_64.rpm")), /^xz$/);
  assert.match(await run("sh", "-c", `rpm2cpio "${first.folder}/acme-1.4.2-1.x86_64.rpm" | cpio -t --quiet`), /usr\/bin\/acmed/);
  assert.match(await run("tar", "-tJf", join(first.folder, "acme-1.4.2-linux-amd64.tar.xz")), /^acmed$/m);
  const again = await buildIn(folder, plan);
  assert.deepEqual(again.manifest.artifacts, first.manifest.artifacts);

  const path = process.env["PATH"];
  t.after(() => (process.env["PATH"] = path));
  const prebuilt = await sampleProduct(t, recipe.replace(/ {2}run: .*\n/, '  prebuilt: "bin/{bin}"\n'));
  await writeFiles(prebuilt, { "bin/acme": "#!/bin/sh\n", "bin/acmed": "#!/bin/sh\n" });
  const bare = await planIn(prebuilt, "1.4.2", { only: ["deb"], targets: linux });
  process.env["PATH"] = join(prebuilt, "nowhere");
  await assert.rejects(buildIn(prebuilt, bare, { run: runCommand }), (error: Error & { code: string; hint: string }) => {
    assert.equal(error.code, "command_failed");
    assert.match(error.message, /^compression: xz needs the program xz, which is not here \(for acme_1\.4\.2_amd64\.deb\)$/);
    assert.match(error.hint, /install xz-utils/);
    return true;
  });
});

test("J6 an archive that names no files brings LICENSE, README, INSTALL and the units of the services; tar reads tar.zst", async (t) => {
  if (!needClient(t, "tar", "zstd")) return;
  const recipe = sampleRecipe
    .replace("  - files: [LICENSE, docs/GUIDE.md]", '  - name: "{name}-{version}-{os}-{arch}.tar.zst"')
    .replace("    /usr/lib/systemd/system/acme.service: packaging/acme.service\n", "")
    .concat("service: { unit: { exec: /usr/bin/acmed } }\n");
  const folder = await sampleProduct(t, recipe);
  await writeFiles(folder, { "README.md": "Read me.\n", "INSTALL.md": "Install me.\n" });
  const plan = await planIn(folder, "1.4.2", { only: ["archive"] });
  const { folder: out, manifest } = await buildIn(folder, plan);
  const names = async (target: string): Promise<readonly string[]> =>
    (await run("tar", "--zstd", "-tf", join(out, `acme-1.4.2-${target}.tar.zst`))).trimEnd().split("\n");
  assert.deepEqual(await names("linux-amd64"), ["INSTALL.md", "LICENSE", "README.md", "acme", "acme.service", "acmed"]);
  assert.deepEqual(await names("darwin-arm64"), ["INSTALL.md", "LICENSE", "README.md", "acme", "acmed"]);
  const listed = manifest.artifacts.find(({ name }) => name === "acme-1.4.2-linux-amd64.tar.zst")?.files?.map(({ path }) => path);
  assert.deepEqual(listed, await names("linux-amd64"));
});

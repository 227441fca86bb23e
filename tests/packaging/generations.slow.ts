/** One recipe's packages in every compression, with the package managers of two Debian generations: dpkg 1.21 and 1.22, rpm 4.18 and 4.20 that take nothing without a good signature. */
import assert from "node:assert/strict";
import { appendFile, copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { CommandResult } from "../../src/io/command.ts";
import { generateOpenpgpKey, readSigningKey } from "../../src/trust/openpgp.ts";
import { createReleaseSigner } from "../../src/trust/release-signature.ts";
import { withAptRoot } from "../support/apt-root.ts";
import { needClient } from "../support/clients.ts";
import { withDnfRoot } from "../support/dnf-root.ts";
import { withZypperRoot } from "../support/zypper-root.ts";
import { buildIn, epochSeconds, planIn, sampleProduct, sampleRecipe, temporaryFolder } from "./fixture.ts";

const codecs = ["gzip", "zstd", "xz"] as const;
const versions = ["1.0.0-rc.1", "1.0.0"] as const;
const recipe = sampleRecipe.replace(/ {2}depends:[\s\S]*$/, "");

type Packages = {
  readonly publicKey: string;
  readonly path: (format: "deb" | "rpm", codec: string, version: string) => string;
};

async function packagesOf(t: TestContext): Promise<Packages> {
  const made = await generateOpenpgpKey({ userId: "Generations <generations@acme.example>", algorithm: "rsa4096", now: new Date(epochSeconds * 1000) });
  const signer = createReleaseSigner({ openpgp: await readSigningKey(Buffer.from(made.secretKey), { now: new Date() }), epochSeconds });
  const folder = await temporaryFolder(t);
  for (const codec of codecs) {
    const product = await sampleProduct(t, recipe.replace("  scripts:", `  compression: ${codec}\n  scripts:`));
    for (const version of versions) {
      await writeFile(join(product, "packaging/acme.yaml"), `version: ${version}\n`);
      const plan = await planIn(product, version, { only: ["deb", "rpm"], targets: [{ os: "linux", arch: "amd64" }] });
      const result = await buildIn(product, plan, { signer });
      for (const { name, kind } of plan.artifacts) await copyFile(join(result.folder, name), join(folder, `${codec}-${version}.${kind}`));
    }
  }
  return { publicKey: made.publicKey, path: (format, codec, version) => join(folder, `${codec}-${version}.${format}`) };
}

function must(result: CommandResult, what: string): string {
  assert.equal(result.exitCode, 0, `${what}\n${result.stdout}\n${result.stderr}`);
  return result.stdout.trim();
}

for (const [generation, dpkg] of [
  ["bookworm", "1.21"],
  ["trixie", "1.22"],
] as const) {
  test(`J3 dpkg ${dpkg} installs, upgrades and purges packages of every compression, and keeps the operator's edit`, { timeout: 600_000 }, async (t) => {
    await withAptRoot(
      t,
      async (root) => {
        assert.ok((await root.command(["dpkg", "--version"])).stdout.includes(` ${dpkg}.`));
        const packages = await packagesOf(t);
        for (const codec of codecs) {
          for (const version of versions) {
            await copyFile(packages.path("deb", codec, version), join(root.path, "acme.deb"));
            must(await root.command(["dpkg", "--force-confold", "-i", "/acme.deb"]), `${codec} ${version}`);
            assert.match(must(await root.command(["acme"]), codec), new RegExp(`acme ${version}`));
            if (version === versions[0]) await appendFile(join(root.path, "etc/acme/acme.yaml"), "edited: true\n");
          }
          assert.equal(await readFile(join(root.path, "etc/acme/acme.yaml"), "utf8"), `version: ${versions[0]}\nedited: true\n`);
          // The root's own settings leave documents out.
          const differing = must(await root.command(["dpkg", "--verify", "acme"]), codec)
            .split("\n")
            .filter((line) => !line.includes("/usr/share/doc/"));
          assert.ok(
            differing.every((line) => line.endsWith(" c /etc/acme/acme.yaml")),
            differing.join("\n"),
          );
          must(await root.command(["dpkg", "--purge", "acme"]), codec);
          assert.notEqual((await root.command(["ls", "/etc/acme/acme.yaml"])).exitCode, 0);
        }
      },
      { generation },
    );
  });
}

/** The same on both: `seen` is how rpm names `folder`, `root` where it installs. */
async function checkRpm(
  t: TestContext,
  rpm: (args: readonly string[]) => Promise<CommandResult>,
  at: { folder: string; seen: string; root: string },
): Promise<void> {
  const packages = await packagesOf(t);
  await writeFile(join(at.folder, "key.asc"), packages.publicKey);
  const strict = ["--define", "_pkgverify_level all"];
  const file = join(at.seen, "acme.rpm");
  await copyFile(packages.path("rpm", "gzip", "1.0.0"), join(at.folder, "acme.rpm"));
  assert.notEqual((await rpm([...strict, "-U", file])).exitCode, 0, "without the key no signature is good");
  must(await rpm(["--import", join(at.seen, "key.asc")]), "import");
  for (const codec of codecs) {
    for (const version of versions) {
      await copyFile(packages.path("rpm", codec, version), join(at.folder, "acme.rpm"));
      must(await rpm([...strict, "-U", file]), `${codec} ${version}`);
      if (version === versions[0]) await appendFile(join(at.root, "etc/acme/acme.yaml"), "edited: true\n");
    }
    assert.equal(must(await rpm(["-q", "--qf", "%{version}", "acme"]), codec), "1.0.0");
    assert.equal(await readFile(join(at.root, "etc/acme/acme.yaml"), "utf8"), `version: ${versions[0]}\nedited: true\n`);
    assert.equal(await readFile(join(at.root, "etc/acme/acme.yaml.rpmnew"), "utf8"), "version: 1.0.0\n");
    const differing = (await rpm(["-V", "--nodeps", "acme"])).stdout.split("\n").filter((line) => line.includes("/usr/"));
    assert.deepEqual(differing, []);
    must(await rpm(["-e", "acme"]), codec);
  }
}

test("J3 rpm 4.18 takes signed packages of every compression with _pkgverify_level all, upgrades a preview, keeps the operator's edit", {
  timeout: 600_000,
}, async (t) => {
  if (!needClient(t, "rpm")) return;
  await withDnfRoot(t, async (root) => {
    assert.match((await root.rpm(["--version"])).stdout, / 4\.1[89]\./);
    const folder = await temporaryFolder(t);
    await checkRpm(t, root.rpm, { folder, seen: folder, root: root.path });
  });
});

test("J3 rpm 4.20 takes signed packages of every compression with _pkgverify_level all, upgrades a preview, keeps the operator's edit", {
  timeout: 600_000,
}, async (t) => {
  await withZypperRoot(t, async (root) => {
    assert.match((await root.rpm(["--version"])).stdout, / 4\.20\./);
    await checkRpm(t, root.rpm, { folder: root.path, seen: "/", root: root.inside("") });
  });
});

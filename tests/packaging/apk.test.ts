/** apk in a recipe: what a build writes, judged by the format tests' own verifier, and what is refused with its line before anything is built. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { storeKey } from "../../src/io/key-folder.ts";
import { loadReleaseSigner } from "../../src/packaging/release-signer.ts";
import { formatApkSecretKey } from "../../src/trust/apk-signature.ts";
import { apkKey } from "../formats/apk-sample.ts";
import { verifyApk } from "../formats/apk-verifier.ts";
import { buildIn, epochSeconds, planIn, sampleProduct, sampleRecipe, temporaryFolder } from "./fixture.ts";

const recipe = sampleRecipe
  .replace("[deb, rpm]", "[deb, apk]")
  .replace("    rpm: [/usr/bin/docker]", '    apk: ["docker >= 20"]')
  .replace("packages:\n", "sign:\n  apk: key:release\npackages:\n  compression: zstd\n");
const keys = { [apkKey.keyFile]: apkKey.publicText };

test("C1 J2 a build makes a signed apk for each linux target, in apk's words, gzip whatever the other formats are", async (t) => {
  const folder = await sampleProduct(t, recipe);
  const keyFolder = join(await temporaryFolder(t), "keys");
  await storeKey(keyFolder, { name: "release", type: "apk" }, { key: formatApkSecretKey(apkKey, "opens it"), pub: apkKey.publicText });
  const signer = await loadReleaseSigner(
    { apk: "key:release" },
    { env: { SLIPWAY_KEYS_DIR: keyFolder }, folder, now: new Date(), epochSeconds, passphrase: () => Promise.resolve("opens it") },
  );
  assert.deepEqual(signer.keyIds, { apk: apkKey.keyFile });
  const plan = await planIn(folder, "1.4.2-rc.1", { only: ["apk"] });
  const result = await buildIn(folder, plan, { signer });
  assert.deepEqual(
    result.manifest.artifacts.map(({ name, kind, arch }) => [name, kind, arch]),
    [
      ["acme_1.4.2-rc.1_aarch64.apk", "apk", "arm64"],
      ["acme_1.4.2-rc.1_x86_64.apk", "apk", "amd64"],
    ],
  );
  const verified = verifyApk(await readFile(join(result.folder, "acme_1.4.2-rc.1_x86_64.apk")), keys);
  const info = (key: string): readonly string[] => verified.info.filter(([name]) => name === key).map(([, value]) => value);
  assert.deepEqual([info("pkgver"), info("arch"), info("depend")], [["1.4.2_rc1-r0"], ["x86_64"], ["/bin/sh", "docker>=20"]]);
  // apk runs no script of an installation at an upgrade, deb and rpm do: what they run stands in both.
  assert.deepEqual(Object.keys(verified.scripts), [".post-install", ".post-upgrade"]);
  const names = verified.entries.map(({ name }) => name);
  for (const name of ["etc/acme/acme.yaml", "usr/bin/acme", "usr/bin/acme-link", "usr/share/acme/tree/one/file.txt", "usr/share/licenses/acme/LICENSE"]) {
    assert.ok(names.includes(name), name);
  }
  assert.equal(verified.entries.find(({ name }) => name === "etc/acme/acme.yaml")?.mode, 0o640);
});

test("an unsigned preview has no signature segment, and its name may be the recipe's own", async (t) => {
  const folder = await sampleProduct(t, recipe.replace("  files:\n    /usr/bin", '  names: { apk: "{name}-{version}-{arch}.apk" }\n  files:\n    /usr/bin'));
  const result = await buildIn(folder, await planIn(folder, "1.4.2", { only: ["apk"], targets: [{ os: "linux", arch: "amd64" }] }));
  assert.deepEqual(
    (await readdir(result.folder)).filter((name) => name.endsWith(".apk")),
    ["acme-1.4.2-amd64.apk"],
  );
  verifyApk(await readFile(join(result.folder, "acme-1.4.2-amd64.apk")), undefined);
});

const refusals: readonly {
  readonly what: string;
  readonly recipe: string;
  readonly version: string;
  readonly error: { code: string; place: string; message: RegExp };
}[] = [
  {
    what: "a prerelease without an apk form",
    recipe,
    version: "1.4.2-foo7",
    error: { code: "version_invalid", place: "slipway.yaml:16:18", message: /packages\.formats: prerelease "foo7" has no apk form/ },
  },
  {
    what: "a configuration outside /etc",
    recipe: recipe.replace("/etc/acme/acme.yaml:", "/opt/acme/acme.yaml:"),
    version: "1.4.2",
    error: {
      code: "recipe_invalid",
      place: "slipway.yaml:20:34",
      message: /\/opt\/acme\/acme\.yaml \(packaging\/acme\.yaml\) is a configuration outside \/etc/,
    },
  },
  {
    what: "a file at the top whose name begins with a dot",
    recipe: recipe.replace("/usr/bin/acme-link:", "/.acme-link:"),
    version: "1.4.2",
    error: { code: "recipe_invalid", place: "slipway.yaml:23:18", message: /begin with a dot: \/\.acme-link/ },
  },
];
for (const { what, recipe: text, version, error } of refusals) {
  test(`${what} is refused with its line when the release is planned, and not where apk is not built`, async (t) => {
    const folder = await sampleProduct(t, text);
    await assert.rejects(planIn(folder, version), error);
    assert.equal((await planIn(folder, version, { only: ["deb"] })).artifacts.length, 2);
  });
}

/** Keyless signing from the recipe through the server to the customer, as the commands are typed; the identity is that of a CI run at the tag. */
import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { actionsIssuer, identityToken, type SigstoreInstance, startSigstore } from "../support/sigstore-instance.ts";
import { acmeBinaries, acmeProduct, type CommandEnd, createVendor, type Vendor } from "../support/vendor.ts";

const repository = "https://github.com/acme/acme";
const workflow = ".github/workflows/release.yml";

const recipe = (instance: SigstoreInstance, sign = ""): string => `${acmeProduct}${acmeBinaries}sign:${sign}
  sigstore: { outputs: [bundle, sig, pem], fulcio: ${instance.url}/, rekor: ${instance.url} }
`;

type Field = { readonly vendor: Vendor; readonly instance: SigstoreInstance; readonly runAt: (tag: string) => Record<string, string> };

async function field(t: TestContext, sign = ""): Promise<Field> {
  const instance = await startSigstore(t);
  const vendor = await createVendor(t, recipe(instance, sign));
  await writeFile(join(vendor.folder, "trusted_root.json"), instance.trustedRoot);
  await writeFile(
    join(vendor.folder, "acme-trust.yaml"),
    `product: acme\nsigstore:\n  issuer: ${actionsIssuer}\n  repository: ${repository}\n  workflow: ${workflow}\n  trusted_root: trusted_root.json\n`,
  );
  return { vendor, instance, runAt: (tag) => ({ SIGSTORE_ID_TOKEN: identityToken(`${repository}/${workflow}@refs/tags/${tag}`) }) };
}

const identityFlags = ["--sigstore-repository", repository, "--sigstore-workflow", workflow, "--sigstore-root", "trusted_root.json"];

function passes(end: CommandEnd): void {
  assert.equal(end.exitCode, 0, end.stdout + end.stderr);
}

test("K8 K14 a release is built and signed keyless, published, and verified from the outside with a report", async (t) => {
  const { vendor, runAt } = await field(t);
  await vendor.writeInput("1.5.0");
  const unsigned = await vendor.run(["build", "--version", "1.5.0"]);
  assert.equal(unsigned.exitCode, 4, "without a token there is no release");
  assert.match(unsigned.stderr, /id-token: write/);
  passes(await vendor.run(["sign", "dist/1.5.0", "--sigstore"], runAt("v1.5.0")));
  const files = await readdir(join(vendor.folder, "dist/1.5.0"));
  for (const name of ["acme-1.5.0-linux-amd64", "release.json"]) {
    assert.deepEqual(
      ["bundle", "pem", "sig"].filter((ending) => !files.includes(`${name}.${ending}`)),
      [],
    );
  }
  assert.ok(files.includes("SHA256SUMS.bundle") && !files.includes("SHA256SUMS.sig"), "the sums' .sig is OpenPGP's");
  const program = "dist/1.5.0/acme-1.5.0-linux-amd64";
  passes(await vendor.run(["verify", "artifact", program, "--version", "v1.5.0", ...identityFlags]));
  const other = await vendor.run(["verify", "artifact", program, "--version", "1.5.1", ...identityFlags]);
  assert.equal(other.exitCode, 20);
  assert.match(other.stdout, /FAIL.*identity_mismatch/);
  passes(await vendor.run(["verify", "artifact", program, "--sums", "dist/1.5.0/SHA256SUMS", "--version", "1.5.0", "--trust", "acme-trust.yaml"]));
  // Through the server: bundles are part of the release.
  await vendor.serve();
  await vendor.result(["publish", "dist/1.5.0"]);
  await vendor.result(["release", "publish", "v1.5.0", "--product", "acme"]);
  const pair = await vendor.pair("one");
  const env = { SLIPWAY_KEY_ID: pair.id, SLIPWAY_KEY_SECRET: pair.secret };
  const verified = await vendor.run(["verify", "release", "v1.5.0", "--from", vendor.url, "--trust", "acme-trust.yaml", "--report", "report"], env);
  passes(verified);
  const report = JSON.parse(await readFile(join(vendor.folder, "report.json"), "utf8")) as {
    result: string;
    files: { name: string; bundleBy?: string }[];
    source: string;
  };
  assert.equal(report.result, "PASS");
  assert.deepEqual(report.files.map(({ name }) => name).toSorted(), ["acme-1.5.0-linux-amd64", "acmed-1.5.0-linux-amd64", "release.json"]);
  assert.ok(report.files.every(({ bundleBy }) => bundleBy === `${repository}/${workflow}@refs/tags/v1.5.0`));
  const text = await readFile(join(vendor.folder, "report.txt"), "utf8");
  assert.match(text, /^acme 1\.5\.0: PASS\n/);
  for (const secret of [pair.secret, pair.id]) assert.ok(!text.includes(secret) && !report.source.includes(secret), "the access pair stays out of the report");
});

test("K14 verify release finds each kind of damage in a published release and exits 20", async (t) => {
  const { vendor, runAt } = await field(t);
  await vendor.writeInput("1.5.0");
  passes(await vendor.run(["build", "--version", "1.5.0"], runAt("v1.5.0")));
  const folder = join(vendor.folder, "dist/1.5.0");
  const examine = (): Promise<CommandEnd> =>
    vendor.run(["verify", "release", "1.5.0", "--folder", "dist/1.5.0", "--trust", "acme-trust.yaml", "--report", "report"]);
  passes(await examine());
  const program = join(folder, "acmed-1.5.0-linux-amd64");
  const damages: readonly (readonly [string, RegExp, (path: string) => Promise<void>])[] = [
    [program, /acmed-1\.5\.0-linux-amd64 +bundle_untrusted/, async (path) => writeFile(path, "#!/bin/sh\nevil\n")],
    [`${program}.bundle`, /acmed-1\.5\.0-linux-amd64 +bundle_malformed/, async (path) => writeFile(path, "{}")],
    [join(folder, "SHA256SUMS.bundle"), /release +bundle_untrusted/, async (path) => writeFile(path, await readFile(`${program}.bundle`))],
  ];
  for (const [path, expected, damage] of damages) {
    const before = await readFile(path);
    await damage(path);
    const end = await examine();
    assert.equal(end.exitCode, 20, path);
    assert.match(end.stdout, expected);
    assert.match(await readFile(join(vendor.folder, "report.txt"), "utf8"), /^acme 1\.5\.0: FAIL\n/);
    await writeFile(path, before);
  }
});

test("a token never reaches the output, whatever the services answer", async (t) => {
  const { vendor, instance } = await field(t);
  await vendor.writeInput("1.5.0");
  const token = identityToken("somebody").replace(/\.[^.]*$/, ".c2VjcmV0LXNpZ25hdHVyZQ");
  const recipeText = (await readFile(join(vendor.folder, "slipway.yaml"), "utf8")).replace(`rekor: ${instance.url}`, `rekor: ${instance.url}/nowhere`);
  await writeFile(join(vendor.folder, "slipway.yaml"), recipeText);
  const refused = await vendor.run(["build", "--version", "1.5.0"], { SIGSTORE_ID_TOKEN: token });
  assert.notEqual(refused.exitCode, 0);
  assert.match(refused.stderr, /slipway sign .* --sigstore/);
  const broken = await vendor.run(["sign", "dist/1.5.0", "--sigstore"], { SIGSTORE_ID_TOKEN: "c2VjcmV0" });
  assert.equal(broken.exitCode, 4);
  for (const end of [refused, broken]) assert.ok(!/c2VjcmV0/.test(end.stdout + end.stderr));
});

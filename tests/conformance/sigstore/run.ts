/**
 * Runs our verifier over the bundles of the Sigstore conformance suite (github.com/sigstore/sigstore-conformance, test/assets/bundle-verify),
 * offline: `node tests/conformance/sigstore/run.ts <suite> <trusted_root.json of the public instance>`. A folder whose name ends in `_fail`
 * must be refused, every other accepted; exit 1 where one is not as it should be. docs/conformance.md has the figures.
 */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { refusalOf } from "./client.ts";

/** The suite's own defaults (test/client.py). */
const beacon =
  "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const actions = "https://token.actions.githubusercontent.com";

async function textOf(path: string, fallback: string): Promise<string> {
  return existsSync(path) ? (await readFile(path, "utf8")).trim() : fallback;
}

const [suite = ".", publicRoot = ""] = process.argv.slice(2);
const folder = resolve(suite, "test/assets/bundle-verify");
const cases = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map((entry) => entry.name);
let wrong = 0;
for (const name of cases.sort()) {
  const at = (file: string): string => join(folder, name, file);
  const key = existsSync(at("key.pub")) ? { key: at("key.pub") } : {};
  const own = existsSync(at("trusted_root.json")) ? at("trusted_root.json") : resolve(publicRoot);
  const refusal = await refusalOf({
    bundle: at("bundle.sigstore.json"),
    artifact: existsSync(at("artifact")) ? at("artifact") : join(folder, "a.txt"),
    identity: await textOf(at("identity"), beacon),
    issuer: await textOf(at("issuer"), actions),
    ...key,
    trustedRoot: own,
  });
  const isExpected = name.endsWith("_fail") === (refusal !== undefined);
  if (!isExpected) wrong += 1;
  process.stdout.write(`${isExpected ? "as expected" : "WRONG      "}  ${name}${refusal === undefined ? "" : `  (${refusal.slice(0, 140)})`}\n`);
}
process.stdout.write(`${cases.length - wrong} of ${cases.length} as expected\n`);
process.exitCode = wrong === 0 ? 0 : 1;

/** What a timer pays where there is nothing to do: what is loaded and made for it, counted and not timed (bench/upgrade.ts measures). */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { cleanEnvironment, requireCommand } from "../../src/io/command.ts";
import { makeSite, noSignal, type Site, startVendor, type Vendor } from "./support.ts";

const checkout = resolve(import.meta.dirname, "../..");
const driver = join(import.meta.dirname, "loading-driver.ts");

type Cost = { readonly requests: number; readonly schemas: number /** Paths below the checkout. */; readonly modules: readonly string[] };

async function costOf(word: string, vendor: Vendor, site: Site): Promise<Cost> {
  const report = join(site.folder, "loading.json");
  vendor.requests.length = 0;
  const argv = [process.execPath, "--import", driver, join(checkout, "src/main.ts"), "upgrade", word, "--installation", site.file];
  await requireCommand(argv, { timeoutMs: 120_000, env: { ...cleanEnvironment(), LOADING_REPORT: report } });
  const { modules, schemas } = JSON.parse(await readFile(report, "utf8")) as { readonly modules: readonly string[]; readonly schemas: number };
  const files = modules.filter((url) => url.startsWith("file:")).map((url) => relative(checkout, fileURLToPath(url)));
  return { requests: vendor.requests.length, schemas, modules: files };
}

/** Needed where the installation file asks for them, and by nobody else. */
const byInstallation = /^src\/(updater\/((package|container|inplace)-strategy|tuf-|bundle-|image-)|formats\/oci)|^node_modules\/(openpgp|@sigstore|@tufjs)\//;
/** What changes something, and what knows packages and containers. */
const byChange =
  /^src\/(updater\/(install|apply|run|session|backup|restore|drill|roll-back|package-owner|package-manager|container-service|container-engine)|formats\/(apk|deb|rpm))[.-]/;

test("a check asks once, and neither loads nor makes what only an upgrade or another installation needs; so does an installation with nothing to do", async (t) => {
  const vendor = await startVendor(t);
  await vendor.release("1.0.0");
  const site = await makeSite(vendor, {}, t);
  await (await site.updater()).install({ signal: noSignal });

  const check = await costOf("check", vendor, site);
  assert.ok(check.modules.includes("src/updater/check.ts") && check.schemas > 100, "the driver sees what is loaded and made");
  assert.equal(check.requests, 1);
  assert.deepEqual(
    check.modules.filter((path) => byInstallation.test(path) || byChange.test(path)),
    [],
  );
  assert.ok(check.schemas <= 550, `${check.schemas} schemas`);
  const own = check.modules.filter((path) => path.startsWith("src/")).length;
  assert.ok(own <= 120, `${own} modules of src`);

  const install = await costOf("install", vendor, site);
  assert.ok(install.modules.includes("src/updater/install.ts"));
  assert.equal(install.requests, 1);
  assert.deepEqual(
    install.modules.filter((path) => byInstallation.test(path)),
    [],
  );
  assert.ok(install.schemas <= 750, `${install.schemas} schemas`);
});

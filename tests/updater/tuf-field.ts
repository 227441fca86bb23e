/** An installation that trusts TUF metadata, its vendor, and whatever of the metadata the test wants to be served. */
import assert from "node:assert/strict";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { TestTuf } from "../support/tuf-repository.ts";
import { failure, makeSite, noSignal, type Site, startVendor, type Vendor } from "./support.ts";

export type Field = {
  readonly vendor: Vendor;
  readonly tuf: TestTuf;
  readonly site: Site;
  /** Metadata files by name, and targets by their path below `targets/`. */
  readonly serve: { files: ReadonlyMap<string, Uint8Array>; targets: ReadonlyMap<string, Uint8Array> };
};

export const sequenceOf = (files: ReadonlyMap<string, Buffer>): number =>
  (JSON.parse(files.get("release.json")?.toString("utf8") ?? "{}") as { sequence: number }).sequence;

/** Publishes with its metadata. */
export async function publish({ vendor, tuf }: Pick<Field, "vendor" | "tuf">, version: string): Promise<Map<string, Buffer>> {
  const files = await vendor.release(version);
  tuf.release(version, sequenceOf(files), files);
  return files;
}

/** A vendor with metadata, and a machine with nothing installed. `trust` stands before its tuf section. */
export async function emptyField(t: TestContext, trust: (vendor: Vendor) => string): Promise<Field> {
  const vendor = await startVendor(t);
  const tuf = new TestTuf({ product: "toy", now: new Date() });
  const serve: Field["serve"] = { files: tuf.files, targets: tuf.targetFiles };
  vendor.faults.answer = (request, response) => {
    const [, area, product, repository, kind, ...rest] = (request.url ?? "").split("/");
    if (area !== "tuf") return false;
    const from = kind === "metadata" ? serve.files : kind === "targets" ? serve.targets : undefined;
    const bytes = product === "toy" && repository === "online" ? from?.get(decodeURIComponent(rest.join("/"))) : undefined;
    if (bytes === undefined) response.writeHead(404).end();
    else response.writeHead(200).end(bytes);
    return true;
  };
  const site = await makeSite(vendor, { trust: `{ ${trust(vendor)} }` }, t);
  await writeFile(join(site.folder, "toy.root.json"), tuf.firstRoot);
  return { vendor, tuf, site, serve };
}

/** 1.4.2 is installed and runs; 1.5.0 is on offer; both are listed. */
export async function field(t: TestContext, options: { readonly require?: string } = {}): Promise<Field> {
  const all = await emptyField(t, (vendor) => `minisign: [${vendor.publicKey}], tuf: { root: toy.root.json }${options.require ?? ""}`);
  await publish(all, "1.4.2");
  await (await all.site.updater()).install({ signal: noSignal });
  await publish(all, "1.5.0");
  return all;
}

export async function requireUntouched(site: Site): Promise<void> {
  assert.equal(await site.running(), "1.4.2");
  assert.equal(await site.live(), "1.4.2");
  assert.deepEqual(await readdir(join(site.root, "versions")), ["1.4.2"]);
}

export async function refused({ site }: Pick<Field, "site">, code: string, detail?: string): Promise<void> {
  await failure((await site.updater()).install({ signal: noSignal }), code, detail);
  await requireUntouched(site);
}

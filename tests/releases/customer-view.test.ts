/** Customer views on both databases: made once for all who see the same, whole at every moment, gone with their head. */
import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import type { Grant, GrantHolder } from "../../src/model/grant.ts";
import { parseVersion } from "../../src/model/version.ts";
import { createCustomerViews } from "../../src/releases/customer-view.ts";
import { createDownloadResolver, type DownloadResolver } from "../../src/releases/resolve.ts";
import { sweep } from "../../src/releases/sweep.ts";
import type { Store } from "../../src/store/store.ts";
import { withdrawRelease } from "../../src/releases/withdraw.ts";
import { storeTest } from "../support/stores.ts";
import { printingPackage, writeTestDeb, writeTestRpm } from "../support/test-packages.ts";
import { actor, product, publish, sampleRelease, stage, testRepositoryKey } from "./sample-release.ts";

const repositoryKey = testRepositoryKey();

async function released(store: Store, ...versions: readonly string[]): Promise<void> {
  for (const version of versions) {
    const release = await sampleRelease(version);
    await stage(store, release);
    await publish(store, release, await repositoryKey);
  }
}

function pinned(customerId: string, version: string): GrantHolder {
  const grant: Grant = {
    channel: undefined,
    formats: undefined,
    versions: undefined,
    entitledUntil: undefined,
    lapse: "keep",
    pin: { version: parseVersion(version), until: undefined },
    changedAt: new Date("2026-02-01T00:00:00Z"),
    isOriginal: true,
  };
  return { customerId, grant };
}

const resolverOf = async (store: Store): Promise<DownloadResolver> => createDownloadResolver(store, createCustomerViews(store, await repositoryKey));

type At = { readonly store: Store; readonly resolver: DownloadResolver };

async function read({ store, resolver }: At, path: string, holder?: GrantHolder, reader?: string): Promise<Buffer> {
  const found = await resolver.resolve({ product, tree: "apt", path, holder, reader });
  assert.ok(found.kind === "file", `${path}: ${found.kind}`);
  return store.blobs.read(found.digest, 1_000_000);
}

const packages = "dists/stable/main/binary-amd64/Packages.gz";
const versionsOf = (index: Buffer): readonly string[] =>
  [
    ...gunzipSync(index)
      .toString()
      .matchAll(/^Version: (.*)$/gm),
  ].map((match) => match[1] ?? "");
const countViews = async (store: Store): Promise<number> => (await store.db.selectFrom("snapshots").select("id").where("view", "!=", "").execute()).length;

storeTest("C9 customers who see the same share one view, also when they all ask at once and through two servers", async (_, { store, openAgain }) => {
  await released(store, "1.0.0", "1.1.0", "1.2.0");
  const [here, there] = [await resolverOf(store), await resolverOf(await openAgain())];
  const holders = Array.from({ length: 8 }, (_unused, index) => pinned(`c${index}`, "1.1.0"));
  const indexes = await Promise.all([here, there].flatMap((resolver) => holders.map((holder) => read({ store, resolver }, packages, holder))));
  for (const index of indexes) assert.deepEqual(versionsOf(index), ["1.0.0", "1.1.0"]);
  assert.equal(await countViews(store), 1);
  assert.deepEqual(versionsOf(await read({ store, resolver: here }, packages)), ["1.0.0", "1.1.0", "1.2.0"], "who has no limits sees the head itself");
  assert.deepEqual(versionsOf(await read({ store, resolver: here }, packages, pinned("c9", "1.0.0"))), ["1.0.0"]);
  assert.equal(await countViews(store), 2);
  // A view has the head's own date: apt would keep the newer of two release files.
  const date = (text: Buffer) => /^Date: .*$/m.exec(text.toString())?.[0];
  assert.equal(
    date(await read({ store, resolver: here }, "dists/stable/InRelease", holders[0])),
    date(await read({ store, resolver: here }, "dists/stable/InRelease")),
  );
  here.close();
  there.close();
});

storeTest(
  "C9 C12 a view's files stay readable after the next publication, its lease holds the pair together, and the sweep takes it with its head",
  async (_, { store, clock }) => {
    await released(store, "1.0.0", "1.1.0");
    const resolver = await resolverOf(store);
    const holder = pinned("c", "1.0.0");
    const release = await read({ store, resolver }, "dists/stable/Release", holder, "reader");
    const hash = / ([0-9a-f]{64}) +\d+ main\/binary-amd64\/Packages\.gz/.exec(release.toString())?.[1] ?? assert.fail(release.toString());
    const byHash = `dists/stable/main/binary-amd64/by-hash/SHA256/${hash}`;
    const signature = await read({ store, resolver }, "dists/stable/Release.gpg", holder);
    clock.advance(60_000);
    await released(store, "1.2.0");
    assert.deepEqual(await read({ store, resolver }, "dists/stable/Release.gpg", holder, "reader"), signature, "the reader's lease");
    assert.notDeepEqual(await read({ store, resolver }, "dists/stable/Release.gpg", holder, "another reader"), signature);
    assert.deepEqual(versionsOf(await read({ store, resolver }, byHash, holder, "another reader")), ["1.0.0"], "by-hash of the view before");
    await withdrawRelease(store, { product, version: "1.0.0", repositoryKey: await repositoryKey, actor });
    assert.deepEqual(versionsOf(await read({ store, resolver }, packages, holder, "a third")), [], "nothing is left for him, and his index says so");
    const before = await countViews(store);
    assert.ok(before >= 3);
    clock.advance(49 * 3_600_000);
    await sweep(store);
    assert.equal(await countViews(store), 1, "the view of the present head alone");
    assert.deepEqual(versionsOf(await read({ store, resolver }, packages, holder, "a fourth")), []);
    resolver.close();
  },
);

storeTest("C9 of two releases that bring the same package under two names, a view that hides one lists the other's, in APT and YUM", async (_, { store }) => {
  const pieces = {
    deb: await writeTestDeb(printingPackage("coequal-data", parseVersion("5.0.0"), "all")),
    rpm: await writeTestRpm(printingPackage("coequal-data", parseVersion("5.0.0"))),
  };
  for (const version of ["1.0.0", "1.1.0"]) {
    const extra = [
      { name: `coequal-data_of-${version}_all.deb`, bytes: pieces.deb },
      { name: `coequal-data-of-${version}.x86_64.rpm`, bytes: pieces.rpm },
    ];
    const release = await sampleRelease(version, { extra });
    await stage(store, release);
    await publish(store, release, await repositoryKey);
  }
  const resolver = await resolverOf(store);
  const holder = pinned("c", "1.0.0");
  const apt = gunzipSync(await read({ store, resolver }, packages, holder)).toString();
  assert.deepEqual(apt.match(/^Filename: .*data.*$/gm), ["Filename: pool/main/c/coequal-data/coequal-data_of-1.0.0_all.deb"]);
  assert.deepEqual(apt.match(/^Version: .*$/gm)?.toSorted(), ["Version: 1.0.0", "Version: 5.0.0"]);
  const yumFile = async (path: string): Promise<Buffer> => {
    const found = await resolver.resolve({ product, tree: "yum", path, holder });
    assert.ok(found.kind === "file", path);
    return store.blobs.read(found.digest, 1_000_000);
  };
  const repomd = (await yumFile("stable/repodata/repomd.xml")).toString();
  for (const name of ["primary", "filelists", "other"]) {
    const [path = ""] = new RegExp(`repodata/[0-9a-f]{64}-${name}\\.xml\\.gz`).exec(repomd) ?? [];
    const xml = gunzipSync(await yumFile(`stable/${path}`)).toString();
    assert.match(xml, / packages="2">/);
    assert.equal(xml.split("</package>").length - 1, 2);
    if (name === "primary")
      assert.deepEqual(xml.match(/href="[^"]*"/g), ['href="x86_64/coequal-1.0.0-1.x86_64.rpm"', 'href="x86_64/coequal-data-of-1.0.0.x86_64.rpm"']);
  }
  resolver.close();
});

storeTest("C9 a view is whole whichever publication comes between its parts", async (_, { store }) => {
  await released(store, "1.0.0", "1.1.0");
  const resolver = await resolverOf(store);
  const readers = Array.from({ length: 5 }, async (_unused, index) => {
    for (let round = 0; round < 6; round += 1) {
      const versions = versionsOf(await read({ store, resolver }, packages, pinned(`c${index}`, "1.0.0")));
      assert.deepEqual(versions, ["1.0.0"]);
    }
  });
  await Promise.all([...readers, released(store, "1.2.0", "1.3.0", "1.4.0")]);
  resolver.close();
});

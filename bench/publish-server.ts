/**
 * Publishing through the server's own code: a store of N packages, half debs and half rpms, the database, the draft's checks, the switch of the head; and what
 * the views of customers with limits cost after it.
 *
 * Run as a program with `seed` it fills the store and ends. Forked, it stays: each message is a release to publish, each answer what that took,
 * then what it took to open the APT and YUM indexes for each of the customers, who differ in the versions that they may have.
 */
import { readFile } from "node:fs/promises";
import type { GrantHolder } from "../src/model/grant.ts";
import { type Digest, digestFromHex } from "../src/model/digest.ts";
import { parseVersion, type Version } from "../src/model/version.ts";
import { systemClock } from "../src/io/clock.ts";
import { insertMembership, newMembership } from "../src/releases/channels.ts";
import { createCustomerViews } from "../src/releases/customer-view.ts";
import type { DescribedPackage } from "../src/releases/describe-package.ts";
import { createProduct, requireProduct } from "../src/releases/products.ts";
import { allReleases } from "../src/releases/releases.ts";
import { openRepositoryKey, type RepositoryKey } from "../src/releases/repository-key.ts";
import { createDownloadResolver } from "../src/releases/resolve.ts";
import { prepareSnapshot, readHead, switchHead } from "../src/releases/snapshot.ts";
import { newId } from "../src/store/id.ts";
import { openKeyEncryptionKey } from "../src/store/key-encryption-key.ts";
import { openStore, type Store } from "../src/store/store.ts";
import { actor, product, publish, sampleRelease, stage } from "../tests/releases/sample-release.ts";
import { likePackage, peakMemory } from "./publish-one.ts";

export type ServerOptions = {
  readonly dataDir: string;
  readonly count: number;
  /** Customers with limits, each with a view of his own. */
  readonly views: number;
  /** A real deb and rpm whose entries the synthetic ones are like. */
  readonly deb: string;
  readonly rpm: string;
};
export type ServerCost = { readonly wallMs: number; readonly cpuMs: number };
/** `views`: all of them together. */
export type ServerAnswer = ServerCost & { readonly peakBytes: number; readonly views: ServerCost };

/** Packages of one release, of each of the two formats. */
const perRelease = 10;
const releasesPerStep = 250;
const releaseCount = ({ count }: ServerOptions): number => Math.ceil(count / perRelease / 2);

async function seed(options: ServerOptions): Promise<void> {
  const { store, key } = await openAll(options.dataDir);
  await createProduct(store, { name: product, actor });
  const nameOf = (index: number): string => `coequal-${index % perRelease}`;
  const versionOf = (index: number): Version => parseVersion(`0.${Math.floor(index / perRelease)}.0`);
  const likeDeb = await likePackage("apt", await readFile(options.deb), nameOf, versionOf);
  const likeRpm = await likePackage("yum", await readFile(options.rpm), nameOf, versionOf);
  const releases = releaseCount(options);
  for (let first = 0; first < releases; first += releasesPerStep) {
    const numbers = Array.from({ length: Math.min(releasesPerStep, releases - first) }, (_, index) => first + index);
    const seeded = numbers.map((number) => {
      const indexes = Array.from({ length: perRelease }, (_, index) => number * perRelease + index);
      const [debs, rpms] = [likeDeb(indexes), likeRpm(indexes)];
      const packages: DescribedPackage[] = [
        ...(debs.kind === "apt" ? debs.add : []).map((entry, at) => ({ kind: "deb" as const, path: `apt/pool/${number}-${at}.deb`, entry })),
        ...(rpms.kind === "yum" ? rpms.add : []).map((fragments, at) => ({ kind: "rpm" as const, path: `yum/stable/x86_64/${number}-${at}.rpm`, fragments })),
      ];
      return { id: newId(store.clock.now()), version: versionOf(number * perRelease), packages };
    });
    await addSeeded(store, key, seeded);
  }
  await store.close();
}

type Seeded = { readonly id: string; readonly version: Version; readonly packages: readonly DescribedPackage[] };

/** Releases with their artifacts' rows, without the artifacts' bytes, published in one switch. */
async function addSeeded(store: Store, repositoryKey: RepositoryKey, seeded: readonly Seeded[]): Promise<void> {
  const owner = await requireProduct(store, product);
  const now = store.clock.now();
  const time = now.getTime();
  const rest = { channel: "stable", sequence: time, sums_digest: null, ended_at: null, replacement: null, reason: null, compat: null };
  await store.db.transaction().execute(async (transaction) => {
    for (const { id, version, packages } of seeded) {
      const row = { id, product_id: owner.id, version, state: "published" as const, created_at: time, published_at: time, ...rest };
      await transaction.insertInto("releases").values(row).execute();
      await insertMembership(transaction, id, newMembership({ channel: "stable", promotedAt: now }));
      const artifacts = packages.map((described) => ({
        id: newId(now),
        release_id: id,
        name: described.path.split("/").at(-1) ?? "",
        digest: digestOf(described),
        size: 1000,
        kind: described.kind,
        package: JSON.stringify(described),
        created_at: time,
      }));
      await transaction.insertInto("artifacts").values(artifacts).execute();
      const paths = artifacts.map((artifact, at) => ({ product_id: owner.id, path: packages[at]?.path ?? "", artifact_id: artifact.id }));
      await transaction.insertInto("artifact_paths").values(paths).execute();
    }
  });
  const add = seeded.flatMap(({ packages }) => packages.map((described) => ({ channel: "stable", described })));
  const change = { add, remove: [], releases: await allReleases(store, owner) };
  const prepared = await prepareSnapshot(store, { product: owner, head: await readHead(store, owner), change, repositoryKey });
  await store.db.transaction().execute((transaction) => switchHead(transaction, owner, prepared));
}

/** As the entry names it. */
function digestOf(described: DescribedPackage): Digest {
  const text = described.kind === "rpm" ? described.fragments.other : described.entry.stanza;
  return digestFromHex(/[0-9a-f]{64}/.exec(text)?.[0] ?? "");
}

async function openAll(dataDir: string): Promise<{ readonly store: Store; readonly key: RepositoryKey }> {
  const store = await openStore({ dataDir, clock: systemClock });
  return { store, key: await openRepositoryKey(store, await openKeyEncryptionKey({ dataDir })) };
}

async function measured<T>(act: () => Promise<T>): Promise<ServerCost> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await act();
  const wallMs = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { wallMs, cpuMs: (user + system) / 1000 };
}

/** The n-th of them may have the older part of all releases, each another one. */
function holderOf(number: number, of: number, releases: number): GrantHolder {
  const versions = `<0.${Math.ceil((releases * (number + 1)) / (of + 1))}.0 || >=1.0.0`;
  const open = { channel: undefined, formats: undefined, entitledUntil: undefined, pin: undefined };
  return { customerId: `customer-${number}`, grant: { ...open, versions, lapse: "keep", changedAt: new Date(0), isOriginal: true } };
}

async function serveParent(options: ServerOptions): Promise<void> {
  const { store, key } = await openAll(options.dataDir);
  const resolver = createDownloadResolver(store, createCustomerViews(store, key));
  const holders = Array.from({ length: options.views }, (_, index) => holderOf(index, options.views, releaseCount(options)));
  const answer = async (version: string): Promise<ServerAnswer> => {
    const release = await sampleRelease(version);
    await stage(store, release);
    const cost = await measured(() => publish(store, release, key));
    const views = await measured(async () => {
      for (const holder of holders) {
        for (const [tree, path] of [
          ["apt", "dists/stable/InRelease"],
          ["yum", "stable/repodata/repomd.xml"],
        ] as const) {
          const found = await resolver.resolve({ product, tree, path, holder });
          if (found.kind !== "file") throw new Error(`${holder.customerId} has no ${path}: ${found.kind}`);
        }
      }
    });
    return { ...cost, peakBytes: await peakMemory(), views };
  };
  process.on("message", (version: string) => void answer(version).then((done) => process.send?.(done)));
  process.on("disconnect", () => {
    resolver.close();
    void store.close();
  });
}

if (import.meta.main) {
  const options = JSON.parse(process.argv[2] ?? "{}") as ServerOptions;
  await (process.send === undefined ? seed(options) : serveParent(options));
}

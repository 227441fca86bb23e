/** A vendor's TUF repository in memory: real keys, every file that a server would serve, and ways to serve it crookedly. */
import { createHash } from "node:crypto";
import { digestFromHex } from "../../src/model/digest.ts";
import {
  channelRole,
  releaseTargets,
  type SignedRollout,
  type TufRepository,
  tufChannel,
  tufRoot,
  tufSnapshot,
  tufTargets,
  tufTimestamp,
} from "../../src/repositories/tuf.ts";
import { generateTufKey, signingKeyOf, type TufSigningKey } from "../../src/trust/tuf-key.ts";
import { signTuf, type TufTarget } from "../../src/trust/tuf-metadata.ts";

export const newKey = (): TufSigningKey => signingKeyOf(generateTufKey().privateKey);
export const hexOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

export type TufVersions = { root: number; targets: number; channel: number; snapshot: number; timestamp: number };

export class TestTuf {
  readonly product: string;
  readonly repository: TufRepository;
  rootKeys: TufSigningKey[] = [newKey(), newKey(), newKey()];
  rootThreshold = 2;
  targetsKeys: TufSigningKey[] = [newKey()];
  online = newKey();
  now: Date;
  channel = "stable";
  targets: Record<string, TufTarget> = {};
  /** What the targets role itself lists. */
  ownTargets: Record<string, TufTarget> = {};
  /** By the path below `targets/`, with the hash in front of the name. */
  readonly targetFiles = new Map<string, Uint8Array>();
  readonly versions: TufVersions = { root: 0, targets: 0, channel: 0, snapshot: 0, timestamp: 0 };
  /** By name: `timestamp.json`, `1.root.json`, … */
  readonly files = new Map<string, Uint8Array>();
  #targetsBytes: Uint8Array = new Uint8Array();
  #channelBytes: Uint8Array = new Uint8Array();
  #snapshotBytes: Uint8Array = new Uint8Array();

  constructor(options: { readonly product: string; readonly now: Date; readonly repository?: TufRepository; readonly like?: TestTuf }) {
    this.product = options.product;
    this.now = options.now;
    this.repository = options.repository ?? "online";
    if (options.like !== undefined) {
      this.rootKeys = options.like.rootKeys;
      this.targetsKeys = options.like.targetsKeys;
    }
    this.root();
    this.delegate();
    this.list();
  }

  get role(): string {
    return channelRole(this.product, this.channel);
  }

  /** The next root, signed by `signers`, by default all of now. */
  root(signers: readonly TufSigningKey[] = this.rootKeys): Uint8Array {
    const version = ++this.versions.root;
    const keys = { root: this.rootKeys, rootThreshold: this.rootThreshold, targets: this.targetsKeys, online: this.online };
    const bytes = signTuf(tufRoot({ version, now: this.now, product: this.product, repository: this.repository, keys }), signers);
    this.files.set(`${version}.root.json`, bytes);
    return bytes;
  }

  delegate(): void {
    const version = ++this.versions.targets;
    this.#targetsBytes = signTuf(
      tufTargets({ version, now: this.now, product: this.product, channels: [this.channel], keys: this.targetsKeys, targets: this.ownTargets }),
      this.targetsKeys,
    );
    this.files.set(`${version}.targets.json`, this.#targetsBytes);
  }

  /** The channel's role as `targets` stands, and what the server signs over it. */
  list(): void {
    const version = ++this.versions.channel;
    this.#channelBytes = signTuf(tufChannel({ version, now: this.now, targets: this.targets }), this.targetsKeys);
    this.files.set(`${version}.${this.role}.json`, this.#channelBytes);
    this.snapshot();
  }

  snapshot(): void {
    const version = ++this.versions.snapshot;
    const roles = [
      { role: "targets", version: this.versions.targets, bytes: this.#targetsBytes },
      { role: this.role, version: this.versions.channel, bytes: this.#channelBytes },
    ];
    this.#snapshotBytes = signTuf(tufSnapshot({ version, now: this.now, repository: this.repository, roles }), [this.online]);
    this.files.set(`${version}.snapshot.json`, this.#snapshotBytes);
    this.timestamp();
  }

  timestamp(): void {
    const version = ++this.versions.timestamp;
    const snapshot = { version: this.versions.snapshot, bytes: this.#snapshotBytes };
    this.files.set("timestamp.json", signTuf(tufTimestamp({ version, now: this.now, repository: this.repository, snapshot }), [this.online]));
  }

  /** A release's files, listed from now on. */
  release(
    version: string,
    sequence: number,
    files: ReadonlyMap<string, Uint8Array>,
    { rollout, isWaypoint }: { readonly rollout?: SignedRollout; readonly isWaypoint?: boolean } = {},
  ): void {
    const listed = [...files].map(([name, bytes]) => ({ name, digest: digestFromHex(hexOf(bytes)), size: bytes.length }));
    Object.assign(this.targets, releaseTargets({ product: this.product, channel: this.channel, version, sequence, files: listed, rollout, isWaypoint }));
    this.list();
  }

  /** A file that the targets role itself lists, from now on. */
  own(path: string, bytes: Uint8Array): void {
    this.ownTargets[path] = { length: bytes.length, hashes: { sha256: hexOf(bytes) } };
    this.targetFiles.set(
      path.replace(/[^/]+$/, (name) => `${hexOf(bytes)}.${name}`),
      bytes,
    );
    this.delegate();
    this.snapshot();
  }

  /** What is served now, to be served again later. */
  freeze(): ReadonlyMap<string, Uint8Array> {
    return new Map(this.files);
  }

  get firstRoot(): Uint8Array {
    const root = this.files.get("1.root.json");
    if (root === undefined) throw new Error("no root");
    return root;
  }
}

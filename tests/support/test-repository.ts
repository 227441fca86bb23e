/** A vendor's repository in memory: publishes into index states as the server does, and puts the rendered files into a map of paths. */
import { type AptEntry, type AptState, aptStateSchema, emptyApt, type RepositorySigner, renderApt, updateApt } from "../../src/repositories/apt.ts";
import { memoryIndexFiles } from "../../src/repositories/index-files.ts";
import type { RepositoryFile } from "../../src/repositories/repository-file.ts";
import { renderYum, updateYum, type YumState, yumStateSchema } from "../../src/repositories/yum.ts";
import type { YumFragments } from "../../src/repositories/yum-fragments.ts";
import { clearsign, generateOpenpgpKey, type OpenpgpAlgorithm, readSigningKey, signDetachedArmored } from "../../src/trust/openpgp.ts";

export type TestKey = { readonly publicKey: string; readonly fingerprint: string; readonly signingKey: Awaited<ReturnType<typeof readSigningKey>> };

/** Made an hour ago, so that no client finds a signature in its future. */
export async function makeTestKey(name: string, algorithm: OpenpgpAlgorithm): Promise<TestKey> {
  const now = new Date(Date.now() - 3_600_000);
  const made = await generateOpenpgpKey({ userId: `${name} <${name}@test.example>`, algorithm, now });
  const signingKey = await readSigningKey(Buffer.from(made.secretKey), { now: new Date() });
  return { publicKey: made.publicKey, fingerprint: made.fingerprint, signingKey };
}

export function signerOf(key: TestKey, now: Date): RepositorySigner {
  const seconds = Math.floor(now.getTime() / 1000);
  return { clearsign: (text) => clearsign(text, key.signingKey, seconds), detach: (bytes) => signDetachedArmored(bytes, key.signingKey, seconds) };
}

export class TestRepository {
  readonly product = "coequal";
  readonly channel = "stable";
  readonly files: Map<string, Uint8Array>;
  private readonly indexes = memoryIndexFiles();
  private apt: AptState | undefined;
  private yum: YumState | undefined;

  constructor(files: Map<string, Uint8Array>) {
    this.files = files;
  }

  /** Publishes and writes `/apt/coequal/…`; older by-hash files stay, as on the server. */
  async publishApt(
    key: TestKey,
    change: { add: readonly AptEntry[]; remove?: readonly AptEntry[] },
    options: { now?: Date; validUntilDays?: number; architectures?: readonly string[] } = {},
  ): Promise<void> {
    const now = options.now ?? new Date();
    const state = await updateApt(this.apt ?? (await emptyApt(this.indexes, options.architectures ?? ["amd64", "arm64"])), change, this.indexes);
    this.apt = aptStateSchema.parse(JSON.parse(JSON.stringify(state)));
    const validUntilDays = options.validUntilDays ?? 7;
    const { product, channel } = this;
    this.write(`/apt/${product}`, await renderApt({ state, product, channel, now, validUntilDays, signedBy: [key.fingerprint], sign: signerOf(key, now) }));
  }

  /** Publishes and writes `/yum/coequal/stable/…`. */
  async publishYum(key: TestKey, change: { add: readonly YumFragments[]; remove?: readonly YumFragments[] }): Promise<void> {
    const now = new Date();
    const state = await updateYum(this.yum, change, this.indexes);
    this.yum = yumStateSchema.parse(JSON.parse(JSON.stringify(state)));
    this.write(`/yum/${this.product}/${this.channel}`, await renderYum({ state, now, sign: signerOf(key, now), publicKey: key.publicKey }));
  }

  private write(root: string, files: readonly RepositoryFile[]): void {
    for (const file of files) {
      const bytes = file.bytes ?? this.indexes.bytesOf(file.digest);
      if (bytes.length !== file.size) throw new Error(`${file.path} has ${bytes.length} bytes, announced ${file.size}`);
      this.files.set(`${root}/${file.path}`, bytes);
    }
  }
}

/** A vendor's repository in memory: publishes into index states as the server does, and puts the rendered files into a map of paths. */
import type { Digest } from "../../src/model/digest.ts";
import { type AptEntry, type AptState, aptStateSchema, emptyApt, type RepositorySigner, renderApt, updateApt } from "../../src/repositories/apt.ts";
import type { NewBlock } from "../../src/repositories/index-blocks.ts";
import { type RepositoryFile, readFileParts } from "../../src/repositories/repository-file.ts";
import { emptyYum, renderYum, updateYum, type YumState, yumStateSchema } from "../../src/repositories/yum.ts";
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
  private readonly blobs = new Map<Digest, Uint8Array>();
  private apt: AptState | undefined;
  private yum: YumState | undefined;

  constructor(files: Map<string, Uint8Array>) {
    this.files = files;
  }

  readonly openBlock = (digest: Digest): Promise<Uint8Array> => {
    const bytes = this.blobs.get(digest);
    return bytes === undefined ? Promise.reject(new Error(`no blob ${digest}`)) : Promise.resolve(bytes);
  };

  /** Publishes and writes `/apt/coequal/…`; older by-hash files stay, as on the server. */
  async publishApt(
    key: TestKey,
    change: { add: readonly AptEntry[]; remove?: readonly AptEntry[] },
    options: { now?: Date; validUntilDays?: number } = {},
  ): Promise<void> {
    const now = options.now ?? new Date();
    const { state, blocks } = await updateApt(this.apt ?? (await emptyApt(["amd64", "arm64"])), change, this.openBlock);
    this.keep(blocks);
    this.apt = aptStateSchema.parse(JSON.parse(JSON.stringify(state)));
    const validUntilDays = options.validUntilDays ?? 7;
    const { product, channel } = this;
    await this.write(
      `/apt/${product}`,
      await renderApt({ state, product, channel, now, validUntilDays, signedBy: [key.fingerprint], sign: signerOf(key, now) }),
    );
  }

  /** Publishes and writes `/yum/coequal/stable/…`. */
  async publishYum(key: TestKey, change: { add: readonly YumFragments[]; remove?: readonly YumFragments[] }): Promise<void> {
    const now = new Date();
    const { state, blocks } = await updateYum(this.yum ?? (await emptyYum()), change, this.openBlock);
    this.keep(blocks);
    this.yum = yumStateSchema.parse(JSON.parse(JSON.stringify(state)));
    await this.write(`/yum/${this.product}/${this.channel}`, await renderYum({ state, now, sign: signerOf(key, now), publicKey: key.publicKey }));
  }

  private keep(blocks: readonly NewBlock[]): void {
    for (const block of blocks) this.blobs.set(block.digest, block.bytes);
  }

  private async write(root: string, files: readonly RepositoryFile[]): Promise<void> {
    for (const file of files) {
      const pieces: Uint8Array[] = [];
      for await (const piece of readFileParts(file, this.openBlock)) pieces.push(piece);
      const bytes = Buffer.concat(pieces);
      if (bytes.length !== file.size) throw new Error(`${file.path} has ${bytes.length} bytes, announced ${file.size}`);
      this.files.set(`${root}/${file.path}`, bytes);
    }
  }
}

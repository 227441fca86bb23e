/** The trusted comment of SHA256SUMS.minisig: binds the sums to one product, version and place in the order of releases, so that an old signature cannot be replayed as a new release. */
import { type Digest, parseDigest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseProductName } from "../model/names.ts";
import { parseVersion, tryParseVersion, type Version } from "../model/version.ts";

export type ReleaseBinding = {
  readonly product: string;
  readonly version: Version;
  /** Grows from release to release (model/manifest.ts). */
  readonly sequence: number;
  /** Of the bytes of the sums file. */
  readonly sumsDigest: Digest;
};

const pattern = /^product:([a-z0-9+.-]{2,63}) version:([0-9A-Za-z.+-]{5,128}) seq:(0|[1-9][0-9]{0,15}) sums:(sha256:[0-9a-f]{64})$/;

/** `product:acme version:1.5.0 seq:57 sums:sha256:<hex>`; throws `name_invalid`, `version_invalid`. */
export function formatTrustedComment(binding: ReleaseBinding): string {
  const { product, version, sequence, sumsDigest } = binding;
  if (!Number.isSafeInteger(sequence) || sequence < 0) throw new SlipwayError("version_invalid", `the sequence ${sequence} is not a whole number from 0`);
  return `product:${parseProductName(product)} version:${parseVersion(version)} seq:${sequence} sums:${sumsDigest}`;
}

/** The binding, or undefined for a comment of any other form (another product's signing habit, or minisign's own default comment). */
export function parseTrustedComment(text: string): ReleaseBinding | undefined {
  const [, product, versionText = "", sequenceText = "", digest = ""] = pattern.exec(text) ?? [];
  const version = tryParseVersion(versionText);
  const sequence = Number(sequenceText);
  if (product === undefined || version === undefined || version !== versionText || !Number.isSafeInteger(sequence)) return undefined;
  return { product, version, sequence, sumsDigest: parseDigest(digest) };
}

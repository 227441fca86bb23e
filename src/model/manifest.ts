/**
 * The manifest `release.json`: our description of one release, listed in SHA256SUMS and so covered by its signatures.
 *
 * It binds product, version and sequence: file names alone do not, and an old, validly signed SHA256SUMS could be replayed.
 */
import { z } from "zod";
import { lazyObject, lazyStrictObject } from "./lazy-object.ts";
import { keySetSchema } from "./key-set.ts";
import { architectures, operatingSystems } from "./target.ts";
import { contractShape } from "./upgrade-contract.ts";

export const manifestName = "release.json";
export const defaultSumsName = "SHA256SUMS";

export const artifactKinds = ["deb", "rpm", "apk", "archive", "binary", "image", "sbom", "provenance", "notes", "delta"] as const;

/** How the plain content of an artifact became its bytes. */
export const deltaCodecs = ["none", "gzip", "zstd"] as const;
export type ArtifactKind = (typeof artifactKinds)[number];

const architectureNames = Object.keys(architectures) as [keyof typeof architectures, ...(keyof typeof architectures)[]];

export const manifestArtifactSchema = lazyStrictObject(() => ({
  name: z.string().min(1).max(200),
  kind: z.enum(artifactKinds),
  os: z.enum(operatingSystems).optional(),
  arch: z.enum(architectureNames).optional(),
  /** Bytes. */
  size: z.int().nonnegative(),
  /** 64 hex digits. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /**
   * Archives and binaries: every file inside (or the binary itself), so that an installation can be compared with what was signed.
   * `path` is relative to the archive's root.
   */
  files: z
    .array(
      lazyStrictObject(() => ({
        path: z.string().min(1).max(1024),
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
        mode: z.int().nonnegative(),
        size: z.int().nonnegative(),
      })),
    )
    .max(20_000)
    .optional(),
  /** Deltas: which artifact it makes (of the same os and arch), out of what. A way to save bytes, never to prove them: the outcome is compared with the artifact's own digest. */
  delta: lazyStrictObject(() => ({
    /** Name of the artifact. */
    of: z.string().min(1).max(200),
    /** SHA-256 of what it is made from: the files of the old artifact in the order of their paths (code units), one behind the other. */
    from: z.string().regex(/^[0-9a-f]{64}$/),
    /** The delta makes the plain content; compressed like this, it is the artifact. */
    codec: z.enum(deltaCodecs),
    level: z.int().min(0).max(22),
  })).optional(),
  /** Images: where it belongs in a registry, and the digest that every tag of it must have there (of the image index). */
  image: lazyStrictObject(() => ({
    repository: z.string().min(1).max(255),
    tags: z.array(z.string().min(1).max(128)).min(1).max(100),
    digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  })).optional(),
}));

/** Unknown keys are kept out of today's meaning but do not stop an older reader: the signature covers them all the same. */
export const manifestSchema = lazyObject(() => ({
  schema: z.literal(1),
  product: z.string().min(2).max(63),
  version: z.string().min(5).max(128),
  tag: z.string().max(129),
  channel: z.string().max(63),
  /** Grows from release to release of a product (the tag's commit time in seconds); a client refuses an older one than it has seen. */
  sequence: z.int().nonnegative(),
  /** RFC 3339, UTC, from SOURCE_DATE_EPOCH. */
  createdAt: z.iso.datetime(),
  commit: z.string().max(64).optional(),
  summary: z.string().max(500).optional(),
  artifacts: z.array(manifestArtifactSchema).max(1_000),
  /** What it promises about upgrades: `compat`, `migration`, `state`, `outcomes`. */
  ...contractShape,
  /** Which keys count from this release on. */
  trust: keySetSchema.optional(),
}));

export type Manifest = z.infer<typeof manifestSchema>;
export type ManifestArtifact = z.infer<typeof manifestArtifactSchema>;

/** Largest manifest that is read: 1,000 artifacts of 20,000 files would not fit, real ones stay below 1 MiB. */
export const manifestSizeLimit = 8 * 1024 * 1024;

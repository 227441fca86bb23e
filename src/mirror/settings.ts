/** What a mirror copies, from where, and whom it trusts: the shape of `mirror.yaml`, strict, with its defaults. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { parseProductName, parseWord } from "../model/names.ts";
import { type Architecture, architectures } from "../model/target.ts";

export const mirrorFormats = ["apt", "yum", "apk", "files", "images"] as const;
export type MirrorFormat = (typeof mirrorFormats)[number];

const architectureNames = Object.keys(architectures) as [Architecture, ...Architecture[]];

const named = (parse: (text: string) => string, what: string) =>
  z.string().refine((text) => {
    try {
      return parse(text) === text;
    } catch {
      return false;
    }
  }, `is not a ${what} name`);

const productNameSchema = named(parseProductName, "product");
const channelSchema = named((text) => parseWord("channel", text), "channel");
const fingerprintSchema = z.string().regex(/^[0-9A-Fa-f ]{40,50}$/, "is not an OpenPGP fingerprint of 40 hex digits");
/** A name of a repository in a registry (distribution-spec, "Pulling manifests"). */
const imageNameSchema = z.string().regex(/^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/, "is not an image repository");

const keysSchema = z.strictObject({
  /** File with OpenPGP public keys; without it `keys/<product>.asc` of the source is taken, and the fingerprints below must be given. */
  openpgp: z.string().min(1).optional(),
  /** Primary fingerprints that may sign indexes; all keys of the file where this is absent. */
  repository: z.array(fingerprintSchema).min(1).optional(),
  /** Primary fingerprints that may sign releases; all keys of the file where this is absent. */
  release: z.array(fingerprintSchema).min(1).optional(),
  /** A minisign public key (`RW…`) or a file with one. */
  minisign: z.string().min(1).optional(),
  /** File with the PEM of the key that signs the apk indexes. */
  apk: z.string().min(1).optional(),
  /** File with a root of the vendor's offline TUF repository (`slipway tuf export --repository offline`); the metadata must then be there. */
  tuf: z.string().min(1).optional(),
});

export const productSelectionSchema = z.strictObject({
  channels: z.array(channelSchema).min(1).max(20).default(["stable"]),
  /** All where absent. */
  architectures: z.array(z.enum(architectureNames)).min(1).optional(),
  formats: z
    .array(z.enum(mirrorFormats))
    .min(1)
    .default([...mirrorFormats]),
  /** The newest so many versions of each channel; all where absent. The package indexes are then our own (decision 7). */
  last: z.int().min(1).max(1_000).optional(),
  /** Our own package indexes also over a whole: behind an air gap they outlive the vendor's, which are good for a week. */
  own_indexes: z.boolean().default(false),
  /** Repositories of images besides those that the releases name; the product's own name is always looked for. */
  images: z.array(imageNameSchema).max(50).default([]),
  /** Name of the signed sums of every release. */
  sums: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/)
    .default("SHA256SUMS"),
});
export type ProductSelection = z.output<typeof productSelectionSchema>;

export const mirrorSettingsSchema = z.strictObject({
  /** `https://releases.example.com`, or `file:` with a folder that is a mirror's tree. A mirror that lives of bundles alone needs none. */
  source: z.string().min(1).optional(),
  /** References: `env:NAME` or `file:PATH`; the secret itself never stands here. */
  pair: z
    .strictObject({
      key_id: z.string().min(1),
      secret: z.string().regex(/^(?:env|file):./, "must be env:NAME or file:PATH: a secret does not belong into this file"),
    })
    .optional(),
  directory: z.string().min(1),
  /** Plain http is refused unless it is loopback or this is set: the pair would travel readable. */
  plain_http: z.boolean().default(false),
  /** Hours that files which left the source stay, for clients that read the old index a moment ago. */
  keep_hours: z.number().min(0).max(8_760).default(24),
  parallel: z.int().min(1).max(32).default(4),
  /** Our own keys, for indexes of a part (`last`): `key:NAME`, `file:PATH` or `env:NAME` as in a recipe. */
  sign: z.strictObject({ gpg: z.string().min(1).optional(), apk: z.string().min(1).optional() }).default({}),
  products: z
    .record(productNameSchema, productSelectionSchema.extend({ keys: keysSchema.default({}) }))
    .refine((products) => Object.keys(products).length > 0, "names no product"),
});
export type MirrorSettings = z.output<typeof mirrorSettingsSchema>;
export type KeySettings = z.output<typeof keysSchema>;

/** True where the package indexes are signed by this mirror. */
export function hasOwnIndexes({ last, own_indexes }: Pick<ProductSelection, "last" | "own_indexes">): boolean {
  return last !== undefined || own_indexes;
}

/** The architectures in a format's own words; undefined where all are wanted. */
export function wantedWords(selection: ProductSelection, words: "deb" | "rpm" | "apk"): ReadonlySet<string> | undefined {
  return selection.architectures === undefined ? undefined : new Set(selection.architectures.map((arch) => architectures[arch][words]));
}

/** Throws `config_invalid` where a part of the indexes is asked for without a key to sign them. */
export function requireSigningKeys(settings: Pick<MirrorSettings, "sign" | "products">): void {
  for (const [name, { formats, ...selection }] of Object.entries(settings.products)) {
    if (!hasOwnIndexes(selection)) continue;
    const missing = [
      ...(settings.sign.gpg === undefined && (formats.includes("apt") || formats.includes("yum")) ? ["sign.gpg"] : []),
      ...(settings.sign.apk === undefined && formats.includes("apk") ? ["sign.apk"] : []),
    ];
    if (missing.length === 0) continue;
    throw new SlipwayError("setting_invalid", `${name}: package indexes of this mirror's own are asked for, and ${missing.join(" and ")} names no key`, {
      hint: "make one with `slipway keys new mirror --type openpgp` and write sign: { gpg: key:mirror }; or leave `last` and `own_indexes` out, or take formats: [files, images]",
    });
  }
}

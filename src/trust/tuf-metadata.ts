/**
 * TUF metadata (specification 1.0, section 4): bytes to checked values, and values to signed bytes.
 *
 * A file is `{signatures: [{keyid, sig}], signed: {…}}`. Signatures are over the canonical JSON of `signed` as it was sent, unknown fields
 * included, so the value before any schema is kept beside the checked one.
 */
import { z } from "zod";
import { lazyLooseObject, lazyStrictObject } from "../model/lazy-object.ts";
import { SlipwayError } from "../model/errors.ts";
import { canonicalJson } from "./canonical-json.ts";
import type { TufSigningKey } from "./tuf-key.ts";

/** Bytes that a client reads at most of each file (trust facts 4.3). */
export const tufLimits = { root: 512 * 1024, timestamp: 32 * 1024, snapshot: 2 * 1024 * 1024, targets: 5 * 1024 * 1024 } as const;

export type TufKind = keyof typeof tufLimits;
export const topLevelRoles = ["root", "timestamp", "snapshot", "targets"] as const;

const version = z.int().min(1);
const common = {
  spec_version: z.string().regex(/^1(\.\d+){0,2}$/, "must be 1.x"),
  version,
  expires: z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, "must be YYYY-MM-DDTHH:MM:SSZ"),
};
const hashes = z.record(z.string(), z.string()).refine((value) => Object.keys(value).length > 0, "must name at least one hash");

const keySchema = lazyLooseObject(() => ({ keytype: z.string(), scheme: z.string(), keyval: z.record(z.string(), z.string()) }));
const roleFields = {
  keyids: z.array(z.string()).refine((ids) => new Set(ids).size === ids.length, "names a key twice"),
  threshold: z.int().min(1),
};
const roleSchema = z.looseObject(roleFields);
const fileSchema = lazyLooseObject(() => ({ version, length: z.int().nonnegative().optional(), hashes: hashes.optional() }));

const delegatedRoleSchema = lazyLooseObject(() => ({
  ...roleFields,
  name: z.string().min(1),
  terminating: z.boolean(),
  paths: z.array(z.string()).optional(),
  path_hash_prefixes: z.array(z.string()).optional(),
}))
  .refine((role) => (role.paths === undefined) !== (role.path_hash_prefixes === undefined), "must have either paths or path_hash_prefixes")
  .refine((role) => !(topLevelRoles as readonly string[]).includes(role.name), "has the name of a top-level role");

const succinctSchema = lazyLooseObject(() => ({ ...roleFields, bit_length: z.int().min(1).max(32), name_prefix: z.string() }));

const delegationsSchema = lazyLooseObject(() => ({
  keys: z.record(z.string(), keySchema),
  roles: z
    .array(delegatedRoleSchema)
    .max(4096)
    .refine((roles) => new Set(roles.map(({ name }) => name)).size === roles.length, "names a role twice")
    .optional(),
  succinct_roles: succinctSchema.optional(),
})).refine((value) => (value.roles === undefined) !== (value.succinct_roles === undefined), "must have either roles or succinct_roles");

const targetSchema = lazyLooseObject(() => ({ length: z.int().nonnegative(), hashes, custom: z.record(z.string(), z.unknown()).optional() }));

const schemas = {
  root: lazyLooseObject(() => ({
    ...common,
    _type: z.literal("root"),
    consistent_snapshot: z.boolean(),
    keys: z.record(z.string(), keySchema),
    roles: lazyStrictObject(() => ({ root: roleSchema, timestamp: roleSchema, snapshot: roleSchema, targets: roleSchema, mirrors: roleSchema.optional() })),
  })),
  timestamp: lazyLooseObject(() => ({ ...common, _type: z.literal("timestamp"), meta: lazyStrictObject(() => ({ "snapshot.json": fileSchema })) })),
  snapshot: lazyLooseObject(() => ({ ...common, _type: z.literal("snapshot"), meta: z.record(z.string(), fileSchema) })),
  targets: lazyLooseObject(() => ({
    ...common,
    _type: z.literal("targets"),
    targets: z.record(z.string(), targetSchema),
    delegations: delegationsSchema.optional(),
  })),
} as const;

export type TufSigned<K extends TufKind> = z.output<(typeof schemas)[K]>;
export type TufRole = z.output<typeof roleSchema>;
export type TufKeyJson = z.output<typeof keySchema>;
export type TufKeys = Readonly<Record<string, TufKeyJson>>;
export type TufFileMeta = z.output<typeof fileSchema>;
export type TufTarget = z.output<typeof targetSchema>;
export type TufDelegations = z.output<typeof delegationsSchema>;

export type TufFile<K extends TufKind> = {
  readonly kind: K;
  readonly bytes: Uint8Array;
  readonly signed: TufSigned<K>;
  /** `signed` as it was sent: what signatures are over. */
  readonly raw: unknown;
  /** Hex signatures by key id. */
  readonly signatures: ReadonlyMap<string, string>;
};

const envelope = lazyLooseObject(() => ({
  signed: z.unknown(),
  signatures: z.array(lazyLooseObject(() => ({ keyid: z.string(), sig: z.string() }))).max(1000),
}));

/** Reads a metadata file without believing it; throws `metadata_invalid`, also above the kind's limit and for two signatures of one key. */
export function readTufFile<K extends TufKind>(kind: K, bytes: Uint8Array): TufFile<K> {
  const refuse = (why: string, cause?: unknown): SlipwayError => new SlipwayError("metadata_invalid", `${kind} metadata: ${why}`, { cause });
  if (bytes.length > tufLimits[kind]) throw refuse(`${bytes.length} bytes; at most ${tufLimits[kind]} are read`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw refuse("is not JSON", error);
  }
  const outer = envelope.safeParse(value);
  if (!outer.success) throw refuse(firstLine(outer.error), outer.error);
  const signed = schemas[kind].safeParse(outer.data.signed);
  if (!signed.success) throw refuse(firstLine(signed.error), signed.error);
  const signatures = new Map(outer.data.signatures.map(({ keyid, sig }) => [keyid, sig]));
  if (signatures.size !== outer.data.signatures.length) throw refuse("two signatures of one key");
  return { kind, bytes, signed: signed.data as TufSigned<K>, raw: outer.data.signed, signatures }; // the schema is the kind's own
}

function firstLine(error: z.ZodError): string {
  return z.prettifyError(error).split("\n").slice(0, 2).join(" ");
}

/** A file with the signatures of `keys`; none gives one that waits for its signatures. */
export function signTuf(signed: TufSigned<TufKind>, keys: readonly TufSigningKey[]): Uint8Array {
  const text = Buffer.from(canonicalJson(signed));
  return writeTufFile(signed, new Map(keys.map((key) => [key.keyId, key.sign(text)])));
}

/** The same file with one signature more, or a signature of that key made anew; what others signed stays. */
export function addTufSignature<K extends TufKind>(file: TufFile<K>, key: TufSigningKey): Uint8Array {
  return writeTufFile(file.raw, new Map([...file.signatures, [key.keyId, key.sign(Buffer.from(canonicalJson(file.raw)))]]));
}

/** One file with the signatures of all copies; throws `conflict` where they are not copies of one content. */
export function joinTufSignatures<K extends TufKind>(files: readonly TufFile<K>[]): Uint8Array {
  const [first] = files;
  if (first === undefined) throw new SlipwayError("usage", "there is no copy to join");
  const content = canonicalJson(first.raw);
  if (files.some((file) => canonicalJson(file.raw) !== content)) throw new SlipwayError("conflict", "the copies do not say the same");
  return writeTufFile(first.raw, new Map(files.flatMap((file) => [...file.signatures])));
}

function writeTufFile(signed: unknown, signatures: ReadonlyMap<string, string>): Uint8Array {
  const list = [...signatures].sort(([left], [right]) => (left < right ? -1 : 1)).map(([keyid, sig]) => ({ keyid, sig }));
  return Buffer.from(`${JSON.stringify({ signatures: list, signed })}\n`);
}

/** TUF's form of an instant: whole seconds, UTC. */
export function tufTime(at: Date): string {
  return `${at.toISOString().slice(0, 19)}Z`;
}

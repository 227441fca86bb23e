/**
 * What a release promises about upgrades: from where it can be reached, what its state is and who can read it, and how its outcomes are proven.
 * The vendor writes it in the recipe (`upgrade:`), it is signed as part of `release.json`, and the updater keeps the one that is installed.
 */
import validRange from "semver/ranges/valid.js";
import { z } from "zod";
import { lazyStrictObject } from "./lazy-object.ts";
import { argvSchema, httpUrlSchema, probeKinds, probeShape, regexSchema } from "./probe.ts";

const word = z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, "must be a word of lower-case letters, digits and dash");
const absolutePath = z
  .string()
  .max(4096)
  .regex(/^\/(?:[^/\p{Cc}]+\/)*[^/\p{Cc}]+$/u, "must be an absolute path")
  .refine((path) => !path.split("/").some((part) => part === "." || part === ".."), "must not have . and .. in it");

/** `previous-line`: the same minor line, or the one before it (K1); else a range of versions as npm writes them. */
export const previousLine = "previous-line";
const upgradeFrom = z
  .string()
  .max(200)
  .refine((text) => text === previousLine || validRange(text) !== null, `must be ${previousLine} or a range of versions, as ">=1.3.0 <1.5.0"`);

const epoch = z.int().nonnegative().max(1_000_000);
/** A kind of persisted data -> the formats that this release reads, and the one that it writes. */
const epochs = z
  .record(
    word,
    lazyStrictObject(() => ({ read: z.array(epoch).min(1).max(100), write: epoch })),
  )
  .refine((value) => Object.values(value).every(({ read, write }) => read.includes(write)), "a release must read what it writes");

export const compatSchema = lazyStrictObject(() => ({
  /** Absent: from anywhere. */
  upgradeFrom: upgradeFrom.optional(),
  epochs: epochs.optional(),
  /** Lines that may run beside this release in one cluster: `1.4`. */
  mixedWith: z
    .array(z.string().regex(/^\d+\.\d+$/, "must be a line, as 1.4"))
    .max(100)
    .optional(),
  /** No upgrade path may pass this release by. */
  waypoint: z.boolean().optional(),
}));
export type Compat = z.infer<typeof compatSchema>;
export type Epochs = NonNullable<Compat["epochs"]>;

export const migrationSchema = lazyStrictObject(() => ({
  /** Can the release bring the state back to the former format itself? */
  reversible: z.boolean(),
  /** Can the release before read the state as this one leaves it? */
  backwardReadable: z.boolean(),
  /** It removes what the release before still needs: only when every node runs this release. */
  contractPhase: z.boolean().optional(),
}));
export type Migration = z.infer<typeof migrationSchema>;

/** `{file}` in the commands is the path of the dump. */
const withFile = argvSchema.refine((argv) => argv.some((argument) => argument.includes("{file}")), "must name {file}, the dump's path");

export const stateSectionSchema = lazyStrictObject(() => ({
  name: word,
  kind: z.enum(["dir", "file", "cmd"]).default("dir"),
  /** Kinds dir and file. */
  path: absolutePath.optional(),
  /** Kind dir: paths below it that are no state. They are not there after a restore. */
  exclude: z.array(z.string().min(1).max(1024)).max(100).optional(),
  /** Kind cmd: writes the dump, as `pg_dump -Fc --file={file} acme`. */
  dump: withFile.optional(),
  /** Kind cmd: exits 0 if the dump can be read, as `pg_restore --list {file}`. */
  inspect: withFile.optional(),
  /** Kind cmd: replaces everything by the dump; safe to run twice. */
  restore: withFile.optional(),
  /** Kind cmd: prints one number, the same before and after the dump and after the restore, as the number of rows. */
  count: argvSchema.optional(),
  timeout_seconds: z.number().positive().max(86_400).default(3_600),
})).superRefine((section, context) => {
  const isCommand = section.kind === "cmd";
  if (isCommand !== (section.path === undefined))
    context.addIssue({ code: "custom", message: "kinds dir and file need path, and cmd has none", path: ["path"] });
  if (isCommand !== (section.dump !== undefined && section.restore !== undefined))
    context.addIssue({ code: "custom", message: "kind cmd needs dump and restore, and no other kind has them", path: ["dump"] });
  if (!isCommand && (section.inspect !== undefined || section.count !== undefined))
    context.addIssue({ code: "custom", message: "inspect and count belong to kind cmd", path: ["inspect"] });
  if (section.kind !== "dir" && section.exclude !== undefined) context.addIssue({ code: "custom", message: "exclude belongs to kind dir", path: ["exclude"] });
  for (const one of section.exclude ?? []) {
    if (one.startsWith("/") || one.split("/").some((part) => part === "" || part === "." || part === ".."))
      context.addIssue({ code: "custom", message: `${JSON.stringify(one)} is no plain path below the section`, path: ["exclude"] });
  }
});
export type StateSection = z.output<typeof stateSectionSchema>;

const uniqueNames = (list: readonly { readonly name: string }[]): boolean => new Set(list.map(({ name }) => name)).size === list.length;
export const stateSectionsSchema = z.array(stateSectionSchema).max(64).refine(uniqueNames, "two sections have the same name");

/** One request of a round trip: an address or a command, and where its answer says what is asked for. */
const request = lazyStrictObject(() => ({
  url: httpUrlSchema.optional(),
  method: z.enum(["GET", "POST", "PUT", "DELETE"]).optional(),
  /** Sent as application/json. */
  body: z
    .string()
    .max(64 * 1024)
    .optional(),
  argv: argvSchema.optional(),
  /** `a.b` in a JSON answer. */
  json: z.string().min(1).max(300).optional(),
  /** Its first group, or the whole match. */
  regex: regexSchema.optional(),
  timeout_seconds: z.number().positive().max(600).default(10),
}))
  .refine((value) => (value.url === undefined) !== (value.argv === undefined), "name exactly one of url, argv")
  .refine((value) => (value.json === undefined) !== (value.regex === undefined), "name exactly one of json, regex: what is read from the answer");
export type RoundTripRequest = z.output<typeof request>;

const roundTrip = lazyStrictObject(() => ({
  /** Starts something durable; its answer says the id. */
  create: request,
  /** `{id}` in url and argv is that id; its answer says the state. */
  poll: request,
  /** Terminal states that are good. */
  expect: z.array(z.string().min(1).max(200)).min(1).max(20),
  /** Terminal states that are bad: no need to wait on. */
  refuse: z.array(z.string().min(1).max(200)).max(20).default([]),
  deadline_seconds: z.number().positive().max(3_600).default(60),
  interval_seconds: z.number().positive().max(60).default(1),
}));
export type RoundTrip = z.output<typeof roundTrip>;

const outcomeCheck = lazyStrictObject(() => ({
  name: word,
  /** A required check that is skipped makes the outcome INCOMPLETE. */
  required: z.boolean().default(true),
  /** Skipped where this path is not there. */
  when: absolutePath.optional(),
  ...probeShape,
  roundtrip: roundTrip.optional(),
})).refine(
  (check) => [...probeKinds, "roundtrip" as const].filter((kind) => check[kind] !== undefined).length === 1,
  `name exactly one of ${probeKinds.join(", ")}, roundtrip`,
);
export type OutcomeCheck = z.output<typeof outcomeCheck>;

export const outcomeSchema = lazyStrictObject(() => ({
  name: word.refine((name) => name !== "auto", "auto is the word for all outcomes that are marked so"),
  /** Part of `--outcome auto`. */
  auto: z.boolean().default(true),
  /** Only where this path is there: a feature that is configured. */
  when: absolutePath.optional(),
  checks: z.array(outcomeCheck).min(1).max(64).refine(uniqueNames, "two checks have the same name"),
}));
export type Outcome = z.output<typeof outcomeSchema>;
export const outcomesSchema = z.array(outcomeSchema).max(32).refine(uniqueNames, "two outcomes have the same name");

/** The contract's fields of `release.json`. */
export const contractShape = {
  compat: compatSchema.optional(),
  migration: migrationSchema.optional(),
  state: stateSectionsSchema.optional(),
  outcomes: outcomesSchema.optional(),
} as const;

export const contractSchema = z.object(contractShape);
/** What is known of a release; absent parts promise nothing. */
export type UpgradeContract = z.infer<typeof contractSchema>;

/** The first kind of data of which `reader` cannot read what `writer` wrote; undefined where it reads all, or neither says anything. */
export function unreadableEpoch(
  reader: Compat | undefined,
  written: Readonly<Record<string, number>>,
): { readonly name: string; readonly written: number } | undefined {
  for (const [name, epochWritten] of Object.entries(written)) {
    const known = reader?.epochs?.[name];
    if (known !== undefined && !known.read.includes(epochWritten)) return { name, written: epochWritten };
  }
  return undefined;
}

/** What a release writes, by kind of data. */
export function writtenEpochs(compat: Compat | undefined): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(compat?.epochs ?? {}).map(([name, { write }]) => [name, write]));
}

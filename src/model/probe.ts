/**
 * Probes: one look at a running product from the outside. Health checks of an installation and outcome checks of a release are made of the same ones.
 *
 *     http     a status, and what the answer says     tcp      somebody listens
 *     command  a program that exits 0                 systemd  a unit is active and has not crash-looped
 *     metric   a value of a Prometheus page           log      the version that the start-up log names
 */
import { z } from "zod";
import { lazyStrictObject } from "./lazy-object.ts";

const argument = z.string().max(4096);
/** A program and its arguments; never a shell. */
export const argvSchema = z.array(argument).min(1, "a command needs at least the program").max(64);

/** An http or https address without user or password. */
export const httpUrlSchema = z
  .string()
  .max(2048)
  .refine((text) => /^https?:\/\//.test(text) && URL.canParse(text), "must be an http or https URL")
  .refine((text) => !URL.canParse(text) || new URL(text).username === "", "must not carry a user or password");

/** Written by the vendor or the operator, matched against what their own product answers. */
export const regexSchema = z.string().max(1000).refine(isRegex, "is not a regular expression");

function isRegex(text: string): boolean {
  try {
    return new RegExp(text) instanceof RegExp;
  } catch {
    return false; // the question was whether it is one
  }
}

const timeoutSeconds = z.number().positive().max(600);

const httpProbe = lazyStrictObject(() => ({
  url: httpUrlSchema,
  status: z.int().min(100).max(599).default(200),
  /** Where the answer says its version. */
  version: lazyStrictObject(() => ({
    json: z.string().min(1).max(300).optional(),
    regex: regexSchema.optional(),
    header: z.string().min(1).max(200).optional(),
  }))
    .refine((value) => Object.keys(value).length === 1, "name exactly one of json, regex, header")
    .optional(),
  /** Must be found in the body. */
  expect: regexSchema.optional(),
  timeout_seconds: timeoutSeconds.default(5),
}));

const tcpProbe = lazyStrictObject(() => ({
  host: z.string().min(1).max(255).default("127.0.0.1"),
  port: z.int().min(1).max(65_535),
  timeout_seconds: timeoutSeconds.default(5),
}));

const commandProbe = lazyStrictObject(() => ({
  argv: argvSchema,
  /** The first group, or the whole match, is the version. */
  version: regexSchema.optional(),
  /** Must be found in its output. */
  expect: regexSchema.optional(),
  timeout_seconds: timeoutSeconds.default(10),
}));

const systemdProbe = lazyStrictObject(() => ({
  unit: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,255}$/, "must be a unit's name"),
  /** Starts by systemd itself that are still good. */
  max_restarts: z.int().nonnegative().default(0),
}));

const metricProbe = lazyStrictObject(() => ({
  url: httpUrlSchema,
  /** With its labels as the page has them: `build_info{version="1.5.0"}`, or the bare name, which sums all of its series. */
  name: z.string().min(1).max(500),
  min: z.number().optional(),
  max: z.number().optional(),
  timeout_seconds: timeoutSeconds.default(5),
})).refine((value) => value.min === undefined || value.max === undefined || value.min <= value.max, "min is greater than max");

const logProbe = lazyStrictObject(() => ({
  /** The last megabyte is read. */
  file: z.string().startsWith("/", "must be an absolute path").max(4096).optional(),
  /** Lines of this unit since its last start, from the journal of systemd. */
  unit: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,255}$/, "must be a unit's name")
    .optional(),
  /** The last match counts: its first group, or the whole of it, is the version. */
  version: regexSchema,
})).refine((value) => (value.file === undefined) !== (value.unit === undefined), "name exactly one of file, unit");

export const probeKinds = ["http", "tcp", "command", "systemd", "metric", "log"] as const;
export type ProbeKind = (typeof probeKinds)[number];

export const probeShape = {
  http: httpProbe.optional(),
  tcp: tcpProbe.optional(),
  command: commandProbe.optional(),
  systemd: systemdProbe.optional(),
  metric: metricProbe.optional(),
  log: logProbe.optional(),
} as const;

export const probeSchema = z.strictObject(probeShape).refine((value) => Object.keys(value).length === 1, `name exactly one of ${probeKinds.join(", ")}`);

/** Exactly one of the kinds is there. */
export type Probe = z.output<typeof probeSchema>;

/** Does the probe tell which version answers? */
export function readsVersion(probe: Probe): boolean {
  return probe.http?.version !== undefined || probe.command?.version !== undefined || probe.log !== undefined;
}

/**
 * The hosts of a rollout, in the order in which they are upgraded:
 *
 *     product: acme
 *     version: 1.5.0              # the newest that the first host is offered, where absent
 *     max_unavailable: 1
 *     pause_seconds: 60           # after each batch
 *     hosts:
 *       - name: node-1
 *         agent: https://node-1.example.com:8431      # or unix:/var/lib/acme/updates/agent.sock
 *         token: file:/etc/slipway/node-1.token       # or env:NAME; role install
 *         drain: [/usr/local/bin/lb, drain, node-1]
 *         undrain: [/usr/local/bin/lb, undrain, node-1]
 *         health: [curl, -fsS, https://node-1.example.com/healthz]
 */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { argvSchema } from "../model/probe.ts";
import { tryParseVersion, type Version } from "../model/version.ts";
import { readStrictYaml } from "../updater/strict-yaml.ts";
import type { AgentAddress } from "./agent-client.ts";

const sizeLimitBytes = 512 * 1024;
const loopbackUrl = /^http:\/\/(?:127\.\d{1,3}\.\d{1,3}\.\d{1,3}|localhost|\[::1\])(?::\d+)?\/?$/i;

/** A token over plain HTTP is only for this machine itself (an SSH tunnel ends here as well). */
const agentUrl = z
  .string()
  .max(2000)
  .refine(
    (text) => /^unix:\/.+/.test(text) || loopbackUrl.test(text) || (URL.canParse(text) && new URL(text).protocol === "https:"),
    "must be https://…, unix:/path, or http://127.0.0.1:… for a tunnel",
  );

const hostSchema = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, "must be a name of letters, digits, dot, dash"),
  agent: agentUrl,
  token: z
    .string()
    .regex(/^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$/, "must be env:NAME or file:PATH; tokens do not stand in this file")
    .optional(),
  ca: z.string().min(1).max(4096).optional(),
  drain: argvSchema.optional(),
  undrain: argvSchema.optional(),
  /** Exits 0 where the host serves again; asked after the agent has said that it is healthy. */
  health: argvSchema.optional(),
});

const fleetSchema = z.strictObject({
  product: z.string().min(1).max(63),
  version: z
    .string()
    .refine((text) => tryParseVersion(text) !== undefined, "is no version")
    .optional(),
  max_unavailable: z.int().min(1).max(1000).default(1),
  pause_seconds: z.number().nonnegative().max(86_400).default(0),
  /** For one host, from its installation to its end. */
  timeout_seconds: z
    .number()
    .positive()
    .max(7 * 86_400)
    .default(3600),
  hook_timeout_seconds: z.number().positive().max(86_400).default(300),
  hosts: z
    .array(hostSchema)
    .min(1)
    .max(1000)
    .refine((hosts) => new Set(hosts.map(({ name }) => name)).size === hosts.length, "two hosts have the same name"),
});

type Parsed = z.output<typeof fleetSchema>;
export type FleetHost = Omit<Parsed["hosts"][number], "agent" | "token" | "ca"> & { readonly address: AgentAddress };
export type Fleet = Omit<Parsed, "hosts" | "version"> & { readonly version: Version | undefined; readonly hosts: readonly FleetHost[] };

/** Reads the file, its tokens and certificates. Throws `installation_invalid` with `file:line:column`. */
export async function loadFleet(file: string, env: Readonly<Record<string, string | undefined>>): Promise<Fleet> {
  const refuse = (message: string, cause?: unknown): never => {
    throw new SlipwayError("installation_invalid", message, { place: file, hint: "docs/embed.md shows a whole file of hosts", cause });
  };
  const text = await readFileBounded(file, sizeLimitBytes).then(
    (bytes) => bytes.toString("utf8"),
    (error: unknown) => refuse("the file of hosts cannot be read", error),
  );
  const parsed = readStrictYaml({ text, name: file, schema: fleetSchema, code: "installation_invalid" });
  const read = (path: string): Promise<string> =>
    readFile(resolve(dirname(file), path), "utf8").catch((error: unknown) => refuse(`${path} cannot be read`, error));
  const secret = async (reference: string | undefined): Promise<string | undefined> => {
    if (reference === undefined) return undefined;
    if (reference.startsWith("file:")) return (await read(reference.slice(5))).trim();
    return env[reference.slice(4)] ?? refuse(`the environment variable ${reference.slice(4)} is not set`);
  };
  const hosts: FleetHost[] = [];
  for (const { agent: url, token, ca, ...host } of parsed.hosts) {
    hosts.push({ ...host, address: { url, token: await secret(token), ...(ca === undefined ? {} : { ca: await read(ca) }) } });
  }
  const { version, ...rest } = parsed;
  return { ...rest, version: version === undefined ? undefined : tryParseVersion(version), hosts };
}

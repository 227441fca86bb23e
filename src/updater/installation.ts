/**
 * The installation file: one product on one machine, in the operator's words.
 *
 *     product: jaco
 *     root: /opt/jaco                     # versions: holds versions/<v> and the link current
 *     strategy: versions                  # or inplace: files replaced one by one under root; package: by dpkg, rpm or apk;
 *                                         # container: a compose service or a quadlet; manual: fetched and verified only; auto
 *     source:
 *       url: https://releases.example.com
 *       key_id: env:JACO_KEY_ID           # the access pair; env:NAME, file:PATH, or for the id the id itself
 *       secret: file:/etc/jaco/secret
 *     trust:
 *       minisign: [RWQ…]                  # public keys; or openpgp: { keyring: release.asc, fingerprints: [...] }
 *       # or sigstore: { issuer: https://…, repository: https://github.com/acme/jaco, workflow: .github/workflows/release.yml, trusted_root: trusted_root.json }
 *     backup: { paths: [/var/lib/jaco/data] }
 *     service: { systemd: jaco.service }  # or stop: [argv…], start: [argv…]
 *     health:
 *       checks:
 *         - http: { url: "http://127.0.0.1:8080/version", version: { json: version } }
 *
 * Unknown keys are errors with a line and a column. Relative paths count from the file's own folder.
 */
import { arch, homedir, platform } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { z } from "zod";
import { lazyStrictObject } from "../model/lazy-object.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { isPosix } from "../io/posix.ts";
import { SlipwayError } from "../model/errors.ts";
import { defaultSumsName } from "../model/manifest.ts";
import { parseFileName, parseProductName, parseWord } from "../model/names.ts";
import { argvSchema, httpUrlSchema, probeSchema, readsVersion } from "../model/probe.ts";
import { parseTarget, type Target } from "../model/target.ts";
import { outcomesSchema, stateSectionsSchema } from "../model/upgrade-contract.ts";
import { agentSectionSchema } from "./agent-section.ts";
import { sectionsOf } from "./sections.ts";
import { containerSectionSchema, withAbsoluteFiles } from "./container-section.ts";
import { isOfUser } from "./quadlet-file.ts";
import { readStrictYaml } from "./strict-yaml.ts";
import { trustProblem, trustSectionSchema, withAbsolutePaths } from "./trust-section.ts";
import { windowSchema } from "./window.ts";

/** Runs one of model's name checks inside a schema, so that its message gets a place. */
function checked<T>(parse: (text: string) => T): (text: string, context: z.RefinementCtx) => T {
  return (text, context) => {
    try {
      return parse(text);
    } catch (error) {
      context.addIssue({ code: "custom", message: error instanceof Error ? error.message : String(error) });
      return z.NEVER;
    }
  };
}

const folder = z.string().min(1).max(4096);
const relativePath = z.string().refine((text) => isPlainRelative(text), "must be a plain relative path without ..");
const bareUrl = httpUrlSchema.refine((text) => !URL.canParse(text) || new URL(text).search === "", "must not carry a query");

/** One safe relative path inside a release or a root. */
export function isPlainRelative(text: string): boolean {
  if (text === "" || text.length > 1024 || isAbsolute(text) || /^[A-Za-z]:/.test(text) || text.includes("\\")) return false;
  if (text.split("").some((unit) => unit.charCodeAt(0) < 32)) return false;
  return text.split("/").every((part) => part !== "" && part !== "." && part !== ".." && part !== "__proto__");
}

const reference = z.string().regex(/^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$/, "must be env:NAME or file:PATH; secrets do not stand in this file");

const sourceSchema = lazyStrictObject(() => ({
  url: bareUrl,
  key_id: z.string().min(1).max(256).optional(),
  secret: reference.optional(),
}));

const serviceSchema = lazyStrictObject(() => ({
  systemd: z.string().min(1).max(256).optional(),
  /** The product runs under `slipway guard exec`. */
  supervisor: z.literal(true).optional(),
  stop: argvSchema.optional(),
  start: argvSchema.optional(),
  timeout_seconds: z.number().positive().max(3600).default(60),
}))
  .refine((value) => (value.stop === undefined) === (value.start === undefined), { message: "name both stop and start" })
  .refine((value) => [value.systemd, value.supervisor, value.stop].filter((way) => way !== undefined).length === 1, {
    message: "name exactly one of systemd, supervisor: true, and stop with start",
  });

const healthSchema = lazyStrictObject(() => ({
  checks: z
    .array(probeSchema)
    .min(1)
    .max(32)
    .refine((checks) => checks.some(readsVersion), {
      message: "at least one check must read the version that runs; otherwise an upgrade that changed nothing would pass",
    }),
  /** From start to healthy. */
  deadline_seconds: z.number().positive().max(86_400).default(60),
  interval_seconds: z.number().positive().max(600).default(1),
  /** Good answers in a row. */
  consecutive: z.int().min(1).max(100).default(3),
  /** How long it must stay healthy before the upgrade counts. */
  bake_seconds: z.number().nonnegative().max(86_400).default(30),
  /** Starts of a version before it is given up. */
  tries: z.int().min(1).max(10).default(3),
}));

/** Exported for the JSON Schema that editors use. */
export const installationSchema = lazyStrictObject(() => ({
  product: z.string().transform(checked(parseProductName)),
  channel: z
    .string()
    .transform(checked((text) => parseWord("channel", text)))
    .default("stable"),
  strategy: z.enum(["auto", "versions", "inplace", "package", "container", "manual"]).default("versions"),
  /** For strategy package it is not needed. */
  root: folder.optional(),
  package: lazyStrictObject(() => ({
    /** Of the package; the product's name by default. */
    name: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9+._-]{0,127}$/, "is not a package name")
      .optional(),
    manager: z.enum(["dpkg", "rpm", "apk"]).optional(),
    /** A program of the product, to ask which package owns it. */
    program: folder.optional(),
  })).default({}),
  /** `os/arch`; this machine by default. */
  target: z.string().transform(checked(parseTarget)).optional(),
  artifact: lazyStrictObject(() => ({
    /** Packages and images only for strategy manual; the others know theirs. */
    kind: z.enum(["archive", "binary", "deb", "rpm", "apk", "image"]).optional(),
    /** For releases with several artifacts of the kind: the one whose name contains this text. */
    name_contains: z.string().min(1).max(200).optional(),
    /** A binary's path under the version's folder or the root; the product's name by default. */
    install_as: relativePath.optional(),
  })).default({}),
  /** File of the archive -> path in the installation; every file at its own path by default. */
  files: z.record(relativePath, relativePath).optional(),
  /** For strategy container. */
  container: containerSectionSchema.optional(),
  state_dir: folder.optional(),
  source: sourceSchema.extend({
    mirrors: z.array(sourceSchema).max(16).default([]),
    sums: z.string().transform(checked(parseFileName)).default(defaultSumsName),
  }),
  trust: trustSectionSchema,
  backup: lazyStrictObject(() => ({
    /** Folders and files; the short form of sections. Where neither is named, the signed release says what its state is. */
    paths: z.array(folder).max(100).default([]),
    sections: stateSectionsSchema.default([]),
    quiesce: argvSchema.optional(),
    unquiesce: argvSchema.optional(),
    timeout_seconds: z.number().positive().max(86_400).default(600),
  })).prefault({}),
  service: serviceSchema.optional(),
  health: healthSchema,
  /** When it may be switched to another version; always by default. */
  window: z.array(windowSchema).max(32).default([]),
  /** Proofs of the operator's own, beside those of the release; one of the same name takes its place. */
  outcomes: outcomesSchema.default([]),
  /** Outcomes that must pass before an upgrade counts; `auto` is a name, too. */
  verify: z.array(z.string().min(1).max(63)).max(32).default([]),
  /** How a copy of the product runs beside the live one, for `slipway drill`; {folder}, {root} and {section:NAME} are the copy's, {package} and {image} what goes back. */
  drill: lazyStrictObject(() => ({ service: serviceSchema, health: healthSchema })).optional(),
  /** `slipway agent`: where it listens and what it may do by itself. */
  agent: agentSectionSchema.prefault({}),
  /** Versions kept to go back to. */
  keep_previous: z.int().min(1).max(20).default(2),
}));

/** Where products keep their state. On Windows the one folder below which Windows itself keeps other users out. */
function dataFolder(): string {
  return isPosix ? "/var/lib" : join(homedir(), "AppData", "Local");
}

type Parsed = z.output<typeof installationSchema>;

/** The file's content with every path absolute. */
export type Installation = Omit<Parsed, "target" | "state_dir" | "root"> & {
  /** Absolute; `/` where strategy package names none. */
  readonly root: string;
  /** Did the operator name a root? */
  readonly hasRoot: boolean;
  /** Absolute path of the installation file. */
  readonly place: string;
  readonly target: Target;
  /** Absolute; `/var/lib/<product>` by default, on Windows `%LOCALAPPDATA%\<product>`. */
  readonly stateDir: string;
  /** Where releases come from a file that was carried here (bundle-source.ts): its path. Not from the installation file. */
  readonly bundle?: string;
  /** A drill's copy: package managers and container engines are asked, and never told. Not from the installation file. */
  readonly isCopy?: true;
};

export type Source = z.output<typeof sourceSchema>;

const sizeLimitBytes = 256 * 1024;
const secretLimitBytes = 16 * 1024;
const defaultName = "slipway-installation.yaml";

/** Reads and checks an installation file; throws `installation_invalid` with `file:line:column`. */
export async function loadInstallation(file: string): Promise<Installation> {
  const place = resolve(file);
  let text: string;
  try {
    text = (await readFileBounded(place, sizeLimitBytes)).toString("utf8");
  } catch (error) {
    throw new SlipwayError("installation_invalid", `cannot read the installation file: ${error instanceof Error ? error.message : String(error)}`, {
      place,
      hint: "name the file with --installation; docs/upgrade.md shows a whole one",
      cause: error,
    });
  }
  return readInstallation(text, place, file);
}

/** The same from its text (YAML or JSON). `place` is absolute: relative paths count from its folder; `file` is its name in messages. */
export function readInstallation(text: string, place: string, file = place): Installation {
  const parsed = readStrictYaml({ text, name: file, schema: installationSchema, code: "installation_invalid" });
  const at = (value: string): string => resolve(dirname(place), value);
  const installation: Installation = {
    ...parsed,
    place,
    root: at(parsed.root ?? "/"),
    hasRoot: parsed.root !== undefined,
    stateDir: at(parsed.state_dir ?? join(dataFolder(), parsed.product)),
    target: parsed.target ?? parseTarget(`${platform() === "win32" ? "windows" : platform()}/${arch()}`),
    backup: { ...parsed.backup, paths: parsed.backup.paths.map(at) },
    trust: withAbsolutePaths(parsed.trust, dirname(place)),
    ...(parsed.container === undefined ? {} : { container: withAbsoluteFiles(parsed.container, at) }),
  };
  requireSense(installation, file);
  sectionsOf({ ...installation, place: file });
  return installation;
}

/** What the schema cannot say: parts that need each other. */
function requireSense(installation: Installation, place: string): void {
  const { trust, backup, strategy } = installation;
  const refuse = (message: string, hint?: string): never => {
    throw new SlipwayError("installation_invalid", message, { place, ...(hint === undefined ? {} : { hint }) });
  };
  if (!installation.hasRoot && (strategy === "versions" || strategy === "inplace"))
    refuse(`strategy ${strategy} needs a root: the folder that holds the product`);
  if (strategy === "container" && installation.container === undefined)
    refuse("strategy container needs container: { files: […], service: … } or { quadlet: … }");
  const { quadlet } = installation.container ?? {};
  if (quadlet !== undefined && isOfUser(quadlet))
    refuse(
      `${quadlet} is a quadlet of a user: its service belongs to systemctl --user, which is not driven`,
      "move it to /etc/containers/systemd/, where the system's systemd runs it (User= in its [Container] keeps the program's user), or use strategy: manual",
    );
  if (installation.container?.pull === "registry" && trust.sigstore !== undefined)
    refuse("container: pull: registry and trust: sigstore do not go together: the bundle vouches for the archive, which a registry does not have");
  const { kind } = installation.artifact;
  if (kind !== undefined && kind !== "archive" && kind !== "binary" && strategy !== "manual")
    refuse(`artifact: { kind: ${kind} } is for strategy manual; strategies package and container choose by themselves`);
  const problem = trustProblem(trust);
  if (problem !== undefined) refuse(problem);
  if ((backup.quiesce === undefined) !== (backup.unquiesce === undefined)) refuse("backup: quiesce and unquiesce go together");
  for (const source of [installation.source, ...installation.source.mirrors]) {
    if ((source.key_id === undefined) !== (source.secret === undefined)) refuse("source: key_id and secret go together");
  }
}

/** The file that was named, else ./slipway-installation.yaml, else the one in /etc/slipway. */
export async function findInstallation(named: string | undefined, cwd: string): Promise<string> {
  if (named !== undefined) return resolve(cwd, named);
  const candidates = [join(cwd, defaultName), join("/etc/slipway", defaultName)];
  for (const candidate of candidates) {
    try {
      await readFileBounded(candidate, sizeLimitBytes);
      return candidate;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") return candidate; // it is there; loading it says what is wrong
    }
  }
  throw new SlipwayError("installation_invalid", `no installation file: neither ${candidates.join(" nor ")}`, {
    hint: "name one with --installation; docs/upgrade.md shows a whole one",
  });
}

/** The access pair of a source, read at the moment of use; undefined where none is configured. Throws `installation_invalid` when a reference leads nowhere. */
export async function readCredentials(
  source: Source,
  installation: Installation,
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ readonly keyId: string; readonly secret: string } | undefined> {
  if (source.key_id === undefined || source.secret === undefined) return undefined;
  const resolveReference = async (text: string): Promise<string> => {
    if (text.startsWith("env:")) {
      const value = env[text.slice(4)];
      if (value === undefined || value === "")
        throw new SlipwayError("installation_invalid", `the environment variable ${text.slice(4)} is not set`, { place: installation.place });
      return value;
    }
    if (!text.startsWith("file:")) return text;
    const file = resolve(dirname(installation.place), text.slice(5));
    try {
      return (await readFileBounded(file, secretLimitBytes)).toString("utf8").trim();
    } catch (error) {
      throw new SlipwayError("installation_invalid", `cannot read ${file}, which holds the access pair: ${(error as Error).message}`, {
        place: installation.place,
        hint: "write what the vendor gave you into that file, mode 0600, and run slipway as the user who may read it",
        cause: error,
      });
    }
  };
  return { keyId: await resolveReference(source.key_id), secret: await resolveReference(source.secret) };
}

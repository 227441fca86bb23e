/**
 * The image configuration: what runs, as whom, on which platform, and which layers make the file system.
 *
 * Source: OCI image-spec 1.1 config.md. On a base, its layers and history come first and its settings are inherited the way `FROM` does it:
 * variables and labels are merged by name, and a new entrypoint drops the base's command.
 */
import { z } from "zod";
import { lazyObject } from "../model/lazy-object.ts";
import { type Digest, isDigest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type OciDocument, type OciPlatform, ociDocument, ociMediaTypes, parseOciJson, sortedMap } from "./oci-descriptor.ts";

/** How a container of the image runs; what is absent is the base's, or the engine's default. */
export type OciRuntime = {
  /** `uid:gid` or a name of the image's own passwd. */
  readonly user?: string;
  /** `8080/tcp`. */
  readonly ports?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly entrypoint?: readonly string[];
  readonly cmd?: readonly string[];
  readonly volumes?: readonly string[];
  readonly workingDir?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly stopSignal?: string;
};

export type OciHistory = { readonly created?: string; readonly createdBy?: string; readonly comment?: string; readonly isEmptyLayer: boolean };

/** A configuration that was read, of a base or for checking. */
export type OciImageConfig = {
  readonly platform: OciPlatform;
  readonly runtime: OciRuntime;
  readonly diffIds: readonly Digest[];
  readonly history: readonly OciHistory[];
};

export type OciConfigSpec = {
  readonly platform: OciPlatform;
  readonly epochSeconds: number;
  readonly runtime: OciRuntime;
  readonly base?: OciImageConfig;
  /** Our own layers, on top of the base's. */
  readonly layers: readonly { readonly diffId: Digest; readonly createdBy: string }[];
};

/** What a shell and most programs expect; engines set the same where an image says nothing. */
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** RFC 3339 in UTC without fractions. */
export function ociTime(epochSeconds: number): string {
  return new Date(epochSeconds * 1000).toISOString().replace(".000Z", "Z");
}

/** The configuration as a blob with its descriptor. Pure: the same spec gives the same bytes. */
export function renderOciConfig(spec: OciConfigSpec): OciDocument {
  const { platform, base, layers } = spec;
  const created = ociTime(spec.epochSeconds);
  const runtime = inheritRuntime(base?.runtime, spec.runtime);
  const osVersion = base?.platform["os.version"];
  return ociDocument(ociMediaTypes.config, {
    created,
    architecture: platform.architecture,
    ...(platform.variant === undefined ? {} : { variant: platform.variant }),
    os: platform.os,
    ...(osVersion === undefined ? {} : { "os.version": osVersion }),
    config: runtimeLiteral(runtime),
    rootfs: { type: "layers", diff_ids: [...(base?.diffIds ?? []), ...layers.map((layer) => layer.diffId)] },
    history: [
      ...(base === undefined ? [] : baseHistory(base)).map(historyLiteral),
      ...layers.map((layer) => historyLiteral({ created, createdBy: layer.createdBy, isEmptyLayer: false })),
    ],
  });
}

function inheritRuntime(base: OciRuntime | undefined, own: OciRuntime): OciRuntime {
  if (base === undefined) return { ...own, env: { PATH: defaultPath, ...own.env } };
  const cmd = own.cmd ?? (own.entrypoint === undefined ? base.cmd : undefined);
  return {
    ...base,
    ...own,
    env: { ...base.env, ...own.env },
    labels: { ...base.labels, ...own.labels },
    ports: [...new Set([...(base.ports ?? []), ...(own.ports ?? [])])],
    volumes: [...new Set([...(base.volumes ?? []), ...(own.volumes ?? [])])],
    cmd: cmd ?? [],
  };
}

/** Keys in the order of the specification. Environment keeps its order (later variables may name earlier ones), sets are sorted. */
function runtimeLiteral(runtime: OciRuntime): Readonly<Record<string, unknown>> {
  const { user, ports, env, entrypoint, cmd, volumes, workingDir, labels, stopSignal } = runtime;
  const set = (words: readonly string[]): Readonly<Record<string, unknown>> => sortedMap(Object.fromEntries(words.map((word) => [word, {}])));
  return {
    ...(user === undefined || user === "" ? {} : { User: user }),
    ...(ports === undefined || ports.length === 0 ? {} : { ExposedPorts: set(ports) }),
    ...(env === undefined ? {} : { Env: Object.entries(env).map(([name, value]) => `${name}=${value}`) }),
    ...(entrypoint === undefined || entrypoint.length === 0 ? {} : { Entrypoint: entrypoint }),
    ...(cmd === undefined || cmd.length === 0 ? {} : { Cmd: cmd }),
    ...(volumes === undefined || volumes.length === 0 ? {} : { Volumes: set(volumes) }),
    ...(workingDir === undefined || workingDir === "" ? {} : { WorkingDir: workingDir }),
    ...(labels === undefined || Object.keys(labels).length === 0 ? {} : { Labels: sortedMap(labels) }),
    ...(stopSignal === undefined ? {} : { StopSignal: stopSignal }),
  };
}

/** Readers want one non-empty history entry per layer; a base that keeps none, or another number, gets a plain one for each layer. */
function baseHistory(base: OciImageConfig): readonly OciHistory[] {
  const filled = base.history.filter((entry) => !entry.isEmptyLayer).length;
  if (filled === base.diffIds.length) return base.history;
  return base.diffIds.map(() => ({ comment: "layer of the base image", isEmptyLayer: false }));
}

function historyLiteral(entry: OciHistory): Readonly<Record<string, unknown>> {
  return {
    ...(entry.created === undefined ? {} : { created: entry.created }),
    ...(entry.createdBy === undefined ? {} : { created_by: entry.createdBy }),
    ...(entry.comment === undefined ? {} : { comment: entry.comment }),
    ...(entry.isEmptyLayer ? { empty_layer: true } : {}),
  };
}

const words = z.array(z.string().max(32_768)).max(4_096);
const wordSet = z.record(z.string().max(4_096), z.unknown());

/** Docker writes `null` where it has nothing. */
const configSchema = lazyObject(() => ({
  architecture: z.string().min(1).max(64),
  os: z.string().min(1).max(64),
  variant: z.string().max(64).nullish(),
  "os.version": z.string().max(64).nullish(),
  config: lazyObject(() => ({
    User: z.string().max(4_096).nullish(),
    ExposedPorts: wordSet.nullish(),
    Env: words.nullish(),
    Entrypoint: words.nullish(),
    Cmd: words.nullish(),
    Volumes: wordSet.nullish(),
    WorkingDir: z.string().max(4_096).nullish(),
    Labels: z.record(z.string(), z.string()).nullish(),
    StopSignal: z.string().max(64).nullish(),
  })).nullish(),
  rootfs: lazyObject(() => ({ type: z.literal("layers"), diff_ids: z.array(z.custom<Digest>(isDigest, "is not a sha256 digest")).max(500) })),
  history: z
    .array(
      lazyObject(() => ({
        created: z.string().max(64).nullish(),
        created_by: z.string().max(65_536).nullish(),
        comment: z.string().max(65_536).nullish(),
        empty_layer: z.boolean().nullish(),
      })),
    )
    .max(2_000)
    .nullish(),
}));

/** Reads a configuration, OCI's or Docker's; throws `format_invalid`. Keys that no specification knows are dropped. */
export function parseOciConfig(bytes: Uint8Array): OciImageConfig {
  const parsed = parseOciJson(bytes, configSchema, "image configuration");
  const settings = parsed.config ?? {};
  return {
    platform: {
      architecture: parsed.architecture,
      os: parsed.os,
      ...present("variant", parsed.variant === "" ? undefined : parsed.variant),
      ...present("os.version", parsed["os.version"]),
    },
    runtime: {
      ...present("user", settings.User),
      ...present("ports", keysOf(settings.ExposedPorts)),
      ...present("env", environment(settings.Env)),
      ...present("entrypoint", settings.Entrypoint),
      ...present("cmd", settings.Cmd),
      ...present("volumes", keysOf(settings.Volumes)),
      ...present("workingDir", settings.WorkingDir),
      ...present("labels", settings.Labels),
      ...present("stopSignal", settings.StopSignal),
    },
    diffIds: parsed.rootfs.diff_ids,
    history: (parsed.history ?? []).map((entry) => ({
      ...present("created", entry.created),
      ...present("createdBy", entry.created_by),
      ...present("comment", entry.comment),
      isEmptyLayer: entry.empty_layer === true,
    })),
  };
}

function present<Key extends string, Value>(key: Key, value: Value | null | undefined): { readonly [name in Key]?: Value } {
  return value === null || value === undefined ? {} : ({ [key]: value } as { readonly [name in Key]: Value });
}

function keysOf(set: Readonly<Record<string, unknown>> | null | undefined): readonly string[] | undefined {
  return set === null || set === undefined ? undefined : Object.keys(set);
}

function environment(lines: readonly string[] | null | undefined): Readonly<Record<string, string>> | undefined {
  if (lines === null || lines === undefined) return undefined;
  return Object.fromEntries(
    lines.map((line) => {
      const equals = line.indexOf("=");
      if (equals < 1) throw new SlipwayError("format_invalid", `the image configuration has ${JSON.stringify(line.slice(0, 40))} among its variables`);
      return [line.slice(0, equals), line.slice(equals + 1)];
    }),
  );
}

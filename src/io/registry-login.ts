/**
 * Finds the user and password of a registry where `docker login`, `podman login` and `skopeo login` leave them, and connects with them.
 *
 * Sources: containers-auth.json(5), `docker login` "Credential stores". A file maps hosts to `base64(user:password)`; a pair is used for
 * the host under which it stands and for no other. Credential helpers are programs of their own and are not started.
 */
import { join } from "node:path";
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { readFileBounded } from "./bounded-read.ts";
import type { Fetch } from "./download.ts";
import { isLoopback, type RegistryCredentials } from "./registry-auth.ts";
import { createRegistryClient, type RegistryClient } from "./registry-client.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

const fileLimitBytes = 1024 * 1024;
const loginHint = "log in again with docker login, podman login or skopeo login";

const loginSchema = z.object({
  auths: z.record(z.string(), z.object({ auth: z.string().optional() })).optional(),
});

/** In the order in which podman and skopeo look: the named file alone where there is one, else the session's, the user's, docker's. */
function loginFiles(env: Environment): readonly string[] {
  const named = env["REGISTRY_AUTH_FILE"] ?? "";
  if (named !== "") return [named];
  const below = (variable: string, ...rest: readonly string[]): readonly string[] => {
    const folder = env[variable] ?? "";
    return folder === "" ? [] : [join(folder, ...rest)];
  };
  return [
    ...below("XDG_RUNTIME_DIR", "containers", "auth.json"),
    ...below("XDG_CONFIG_HOME", "containers", "auth.json"),
    ...below("HOME", ".config", "containers", "auth.json"),
    ...below("DOCKER_CONFIG", "config.json"),
    ...below("HOME", ".docker", "config.json"),
  ];
}

/** The pair for a host (`registry.example:5000`), or undefined where no file has one. Throws `setting_invalid` for a file that cannot be read as one. */
export async function findRegistryLogin(host: string, env: Environment): Promise<RegistryCredentials | undefined> {
  for (const path of loginFiles(env)) {
    const login = (await readLogins(path)).get(host);
    if (login !== undefined) return decodeLogin(login, path);
  }
  return undefined;
}

async function readLogins(path: string): Promise<ReadonlyMap<string, string>> {
  let text: string;
  try {
    text = (await readFileBounded(path, fileLimitBytes)).toString("utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return new Map();
    throw error;
  }
  const parsed = loginSchema.safeParse(jsonOf(text));
  if (!parsed.success)
    throw new SlipwayError("setting_invalid", "the file of registry logins is not what docker and podman write", { place: path, hint: loginHint });
  const entries = Object.entries(parsed.data.auths ?? {});
  return new Map(entries.flatMap(([name, { auth }]) => (auth === undefined || auth === "" ? [] : [[hostOf(name), auth] as const])));
}

/** JSON or undefined: the message must not show the file, which holds passwords. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the schema refuses it
  }
}

/** docker writes `https://host/v1/` for some hosts. An entry for one repository of a host stays as it is and fits no host. */
function hostOf(name: string): string {
  return name.replace(/^https?:\/\//, "").replace(/\/(?:v[12]\/?)?$/, "");
}

function decodeLogin(auth: string, path: string): RegistryCredentials {
  const pair = Buffer.from(auth, "base64").toString("utf8");
  const colon = pair.indexOf(":");
  if (colon < 1) throw new SlipwayError("setting_invalid", "a registry login is not base64 of user:password", { place: path, hint: loginHint });
  return { username: pair.slice(0, colon), secret: pair.slice(colon + 1) };
}

export type RegistryConnection = {
  /** Where login files are looked for; none without it. */
  readonly env?: Environment;
  /** Instead of the login files'. */
  readonly credentials?: RegistryCredentials;
  /** Aborted requests end at once. */
  readonly signal?: AbortSignal;
  readonly fetch?: Fetch;
};

/** A client for a host: https, or plain http on loopback, where no network can listen. Throws `setting_invalid` for a broken login file. */
export async function connectRegistry(host: string, connection: RegistryConnection = {}): Promise<RegistryClient> {
  const plain = new URL(`http://${host}`);
  const origin = isLoopback(plain) ? plain : new URL(`https://${host}`);
  const { signal, fetch = globalThis.fetch } = connection;
  const credentials = connection.credentials ?? (await findRegistryLogin(host, connection.env ?? {}));
  return createRegistryClient({
    origin,
    ...(credentials === undefined ? {} : { credentials }),
    fetch: signal === undefined ? fetch : stoppable(fetch, signal),
  });
}

function stoppable(fetch: Fetch, signal: AbortSignal): Fetch {
  return (input, init) => {
    const signals = init?.signal === undefined || init.signal === null ? [signal] : [signal, init.signal];
    return fetch(input, { ...init, signal: AbortSignal.any(signals) });
  };
}

/**
 * The HTTP client of an OCI registry: blobs and manifests, pushed and pulled (OCI distribution-spec 1.1, endpoints end-2 to end-11).
 *
 * What is pulled is hashed on its way and fails at its end if it is not what was asked for. What is pushed is named by its digest, so that
 * the registry refuses damage, and a killed push goes on where it was by asking for each blob first. Authorization goes to the registry's
 * own origin only; redirects and upload addresses elsewhere get none.
 */
import { createHash } from "node:crypto";
import { type Digest, digestFromHex, isDigest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { readStreamBounded } from "./bounded-read.ts";
import { checkRedirect, displayUrl, type Fetch } from "./download.ts";
import { createRegistryAuthorizer, isLoopback, type RegistryCredentials } from "./registry-auth.ts";
import {
  callRegistry,
  defaultRegistryTimes,
  type RegistryAnswer,
  type RegistryBody,
  type RegistrySession,
  type RegistryTimes,
  requestedPauseMs,
} from "./registry-transport.ts";

export type RegistryUpload = { readonly kind: "monolithic" } | { readonly kind: "chunked"; readonly chunkBytes: number };

export type RegistryOptions = {
  /** `https://registry.example:5000`. */
  readonly origin: URL;
  readonly credentials?: RegistryCredentials;
  readonly fetch?: Fetch;
  /** Plain http is refused unless it is loopback or this is set. */
  readonly isPlainHttpAllowed?: boolean;
  /** `monolithic` (default) sends a blob as one PUT; `chunked` as PATCHes of so many bytes, for proxies that cap a request. */
  readonly upload?: RegistryUpload;
  readonly times?: RegistryTimes;
  /** Tries of each step; 4 by default. */
  readonly tries?: number;
  readonly sleep?: (ms: number) => Promise<void>;
};

/** A blob that can be read as often as needed; `size` in bytes. */
export type RegistryBlob = { readonly digest: Digest; readonly size: number; readonly open: () => AsyncIterable<Uint8Array> };

export type RegistryManifest = { readonly bytes: Buffer; readonly mediaType: string; readonly digest: Digest };

export type RegistryClient = {
  readonly host: string;
  readonly hasBlob: (repository: string, digest: Digest) => Promise<boolean>;
  /** Asks first, then tries to mount from the other repositories, then uploads. A failed upload leaves a session that registries expire. */
  readonly pushBlob: (repository: string, blob: RegistryBlob, mountFrom?: readonly string[]) => Promise<"present" | "mounted" | "uploaded">;
  /**
   * Hands the bytes to `receive`, anew for each try. They are unverified until the promise resolves: a wrong digest or size throws
   * `upload_invalid` at the end of the bytes.
   */
  readonly pullBlob: (
    repository: string,
    blob: Pick<RegistryBlob, "digest" | "size">,
    receive: (bytes: AsyncIterable<Uint8Array>) => Promise<void>,
  ) => Promise<void>;
  /** The digest that a tag or digest stands for, or undefined where there is none. */
  readonly findManifest: (repository: string, reference: string, accept: readonly string[]) => Promise<Digest | undefined>;
  /** At most 4 MiB; checked against the digest where `reference` is one. */
  readonly getManifest: (repository: string, reference: string, accept: readonly string[]) => Promise<RegistryManifest>;
  readonly putManifest: (repository: string, reference: string, manifest: Pick<RegistryManifest, "bytes" | "mediaType">) => Promise<void>;
};

/** Opens a registry by its host, with what is known of how to log in there. */
export type ConnectRegistry = (host: string) => Promise<RegistryClient>;

const manifestLimitBytes = 4 * 1024 * 1024;
const firstPauseMs = 500;
/** A registry that wants a longer pause is one that the operator should come back to. */
const longestPauseMs = 60_000;

/**
 * Opens nothing yet. Throws `usage` for plain http that is neither loopback nor allowed. Every function throws `unauthorized`, `forbidden`,
 * `not_found`, `rate_limited`, `server_error` or `network_unreachable`; the last three after all tries.
 */
export function createRegistryClient(options: RegistryOptions): RegistryClient {
  const { origin } = options;
  const isPlainHttpAllowed = options.isPlainHttpAllowed ?? false;
  if (origin.protocol !== "https:" && !(origin.protocol === "http:" && (isPlainHttpAllowed || isLoopback(origin)))) {
    throw new SlipwayError("usage", `${displayUrl(origin)}: a registry is reached by https`, {
      hint: "use https, or allow plain http for this registry on purpose",
    });
  }
  const fetch = options.fetch ?? globalThis.fetch;
  const times = options.times ?? defaultRegistryTimes;
  const authorizer = createRegistryAuthorizer({ origin, credentials: options.credentials, fetch, isPlainHttpAllowed, timeoutMs: times.answerMs });
  const session: RegistrySession = { origin, fetch, times, authorizer };
  const address = (repository: string, rest: string): URL => new URL(`/v2/${repository}/${rest}`, origin);
  const pulling = (repository: string): readonly string[] => [`repository:${repository}:pull`];
  const pushing = (repository: string): readonly string[] => [`repository:${repository}:pull,push`];

  /** Whoever pushes asks with the right to push, so that one token serves the whole push. */
  const hasBlob = async (repository: string, digest: Digest, scopes: readonly string[]): Promise<boolean> => {
    const answer = await callRegistry(session, { method: "HEAD", url: address(repository, `blobs/${digest}`), scopes, expected: [200, 404] });
    await answer.drop();
    return answer.response.status === 200;
  };

  return {
    host: origin.host,
    hasBlob: (repository, digest) => retrying(options, () => hasBlob(repository, digest, pulling(repository))),
    pushBlob: (repository, blob, mountFrom = []) =>
      retrying(options, async () => {
        const scopes = pushing(repository);
        if (await hasBlob(repository, blob.digest, scopes)) return "present";
        const uploads = address(repository, "blobs/uploads/");
        for (const from of mountFrom)
          if (await mountBlob(session, { uploads, scopes: [...scopes, ...pulling(from)], digest: blob.digest, from })) return "mounted";
        await uploadBlob(session, { uploads, scopes, blob, mode: options.upload ?? { kind: "monolithic" } });
        return "uploaded";
      }),
    pullBlob: (repository, blob, receive) =>
      retrying(options, async () => {
        const answer = await callRegistry(session, {
          method: "GET",
          url: address(repository, `blobs/${blob.digest}`),
          scopes: pulling(repository),
          expected: [200],
        });
        const watch = { isAtEnd: false };
        try {
          await receive(checkedBytes(answer, blob, watch));
        } finally {
          await answer.drop();
        }
        if (!watch.isAtEnd) throw new Error(`bug: blob ${blob.digest} was not read to its end`);
      }),
    findManifest: (repository, reference, accept) =>
      retrying(options, async () => {
        const headers = { accept: accept.join(", ") };
        const answer = await callRegistry(session, {
          method: "HEAD",
          url: address(repository, `manifests/${reference}`),
          scopes: pulling(repository),
          expected: [200, 404],
          headers,
        });
        await answer.drop();
        if (answer.response.status === 404) return undefined;
        const digest = answer.response.headers.get("docker-content-digest");
        if (isDigest(digest)) return digest;
        return (await getManifest(session, { url: address(repository, `manifests/${reference}`), scopes: pulling(repository), reference, accept })).digest;
      }),
    getManifest: (repository, reference, accept) =>
      retrying(options, () => getManifest(session, { url: address(repository, `manifests/${reference}`), scopes: pulling(repository), reference, accept })),
    putManifest: (repository, reference, manifest) =>
      retrying(options, async () => {
        const { bytes, mediaType } = manifest;
        const body = { size: bytes.length, open: () => oneByOne([bytes]) };
        const url = address(repository, `manifests/${reference}`);
        const answer = await callRegistry(session, {
          method: "PUT",
          url,
          scopes: pushing(repository),
          expected: [201],
          headers: { "content-type": mediaType },
          body,
        });
        await answer.drop();
        const stored = answer.response.headers.get("docker-content-digest");
        const digest = digestOf(bytes);
        if (stored !== null && stored !== digest) throw new SlipwayError("upload_invalid", `${displayUrl(url)}: the registry stored ${stored} for ${digest}`);
      }),
  };
}

/** Repeats what may go better the next time, with growing pauses or the one that the registry asks for. */
async function retrying<Result>(options: RegistryOptions, work: () => Promise<Result>): Promise<Result> {
  const sleep = options.sleep ?? ((ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)));
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof SlipwayError) || !error.isRetryable || attempt >= (options.tries ?? 4)) throw error;
      const pauseMs = firstPauseMs * 2 ** (attempt - 1) * (1 + Math.random() / 2);
      await sleep(Math.min(longestPauseMs, Math.max(pauseMs, requestedPauseMs(error))));
    }
  }
}

async function mountBlob(session: RegistrySession, mount: { uploads: URL; scopes: readonly string[]; digest: Digest; from: string }): Promise<boolean> {
  const url = new URL(mount.uploads);
  url.searchParams.set("mount", mount.digest);
  url.searchParams.set("from", mount.from);
  try {
    const answer = await callRegistry(session, { method: "POST", url, scopes: mount.scopes, expected: [201, 202] });
    await answer.drop();
    return answer.response.status === 201; // 202 opened an upload instead: it is left to expire, because its rights may be narrower
  } catch (error) {
    // A pair that may not read the other repository may still upload to this one.
    if (error instanceof SlipwayError && ["unauthorized", "forbidden", "not_found"].includes(error.code)) return false;
    throw error;
  }
}

type Upload = { readonly uploads: URL; readonly scopes: readonly string[]; readonly blob: RegistryBlob; readonly mode: RegistryUpload };

async function uploadBlob(session: RegistrySession, { uploads, scopes, blob, mode }: Upload): Promise<void> {
  const start = await callRegistry(session, { method: "POST", url: uploads, scopes, expected: [202] });
  await start.drop();
  const headers = { "content-type": "application/octet-stream" };
  let location = uploadLocation(start);
  let body: RegistryBody = blob;
  if (mode.kind === "chunked") {
    const least = Number(start.response.headers.get("oci-chunk-min-length") ?? 0);
    location = await sendChunks(session, { location, scopes, blob, chunkBytes: Math.max(mode.chunkBytes, Number.isSafeInteger(least) ? least : 0) });
    body = { size: 0, open: () => oneByOne([]) };
  }
  location.searchParams.set("digest", blob.digest);
  const end = await callRegistry(session, { method: "PUT", url: location, scopes, expected: [201], headers, body });
  await end.drop();
}

type Chunks = { readonly location: URL; readonly scopes: readonly string[]; readonly blob: RegistryBlob; readonly chunkBytes: number };

/** `Content-Range: a-b` is inclusive and without a unit (end-5). Returns where the closing PUT goes. */
async function sendChunks(session: RegistrySession, { location, scopes, blob, chunkBytes }: Chunks): Promise<URL> {
  let url = location;
  let offset = 0;
  for await (const chunk of chunksOf(blob.open(), chunkBytes)) {
    const last = offset + chunk.length - 1;
    const headers = { "content-type": "application/octet-stream", "content-range": `${offset}-${last}` };
    const body = { size: chunk.length, open: () => oneByOne([chunk]) };
    const answer = await callRegistry(session, { method: "PATCH", url, scopes, expected: [202], headers, body });
    await answer.drop();
    const range = answer.response.headers.get("range");
    if (range !== null && range !== `0-${last}`)
      throw new SlipwayError("upload_offset", `${displayUrl(url)}: the registry has ${range.slice(0, 40)}, sent was 0-${last}`);
    url = uploadLocation(answer);
    offset += chunk.length;
  }
  return url;
}

async function* chunksOf(bytes: AsyncIterable<Uint8Array>, chunkBytes: number): AsyncGenerator<Buffer> {
  let held: Uint8Array[] = [];
  let size = 0;
  for await (const piece of bytes) {
    for (let offset = 0; offset < piece.length; ) {
      const part = piece.subarray(offset, offset + chunkBytes - size);
      held.push(Buffer.from(part)); // a copy: the source may reuse its buffer
      size += part.length;
      offset += part.length;
      if (size === chunkBytes) {
        yield Buffer.concat(held, size);
        held = [];
        size = 0;
      }
    }
  }
  if (size > 0) yield Buffer.concat(held, size);
}

/** Absolute or relative (end-4a); somewhere else only where a redirect would be allowed to lead. */
function uploadLocation(answer: RegistryAnswer): URL {
  const location = answer.response.headers.get("location");
  const url = location === null ? null : URL.parse(location, answer.url.href);
  if (url === null) throw new SlipwayError("server_error", `${displayUrl(answer.url)}: the registry opened an upload and did not say where`);
  checkRedirect(answer.url, url);
  return url;
}

type ManifestRequest = { readonly url: URL; readonly scopes: readonly string[]; readonly reference: string; readonly accept: readonly string[] };

async function getManifest(session: RegistrySession, { url, scopes, reference, accept }: ManifestRequest): Promise<RegistryManifest> {
  const answer = await callRegistry(session, { method: "GET", url, scopes, expected: [200], headers: { accept: accept.join(", ") } });
  try {
    const bytes = await readStreamBounded(answer.body, manifestLimitBytes, displayUrl(url));
    const digest = digestOf(bytes);
    const expected = isDigest(reference) ? reference : (answer.response.headers.get("docker-content-digest") ?? digest);
    if (expected !== digest)
      throw new SlipwayError("upload_invalid", `${displayUrl(url)}: the manifest has the digest ${digest}, expected ${expected}`, { detail: "hash_mismatch" });
    const mediaType = (answer.response.headers.get("content-type") ?? "").split(";")[0]?.trim() ?? "";
    return { bytes, mediaType, digest };
  } finally {
    await answer.drop();
  }
}

async function* checkedBytes(answer: RegistryAnswer, blob: Pick<RegistryBlob, "digest" | "size">, watch: { isAtEnd: boolean }): AsyncGenerator<Uint8Array> {
  const at = displayUrl(answer.url);
  const hash = createHash("sha256");
  let left = blob.size;
  for await (const piece of answer.body) {
    left -= piece.length;
    if (left < 0) throw new SlipwayError("upload_invalid", `${at}: more than the ${blob.size} bytes of ${blob.digest}`, { detail: "size_mismatch" });
    hash.update(piece);
    yield piece;
  }
  if (left > 0)
    throw new SlipwayError("network_unreachable", `${at}: the connection ended ${left} bytes before the end of ${blob.digest}`, { detail: "short_body" });
  const actual = digestFromHex(hash.digest("hex"));
  if (actual !== blob.digest)
    throw new SlipwayError("upload_invalid", `${at}: the bytes have the digest ${actual}, expected ${blob.digest}`, { detail: "hash_mismatch" });
  watch.isAtEnd = true;
}

async function* oneByOne(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces;
}

function digestOf(bytes: Uint8Array): Digest {
  return digestFromHex(createHash("sha256").update(bytes).digest("hex"));
}

/**
 * Where a mirror's files come from: a server over HTTP behind an access pair, or a folder that is a mirror's tree. Nothing that comes from here
 * is believed: whoever asks checks signatures and digests.
 */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { readFileBounded } from "../io/bounded-read.ts";
import { displayUrl, downloadPart, type Fetch, fetchBounded, openRemote, type PartValidator, type Remote } from "../io/download.ts";
import { isLoopback } from "../io/registry-auth.ts";
import { safeJoin } from "../io/safe-path.ts";
import { SlipwayError } from "../model/errors.ts";

export type PartRequest = {
  /** As in the tree, `/` between segments: `apt/acme/pool/main/a/acme/acme_1.4.2_amd64.deb`. */
  readonly path: string;
  /** Bytes that the whole file must have. */
  readonly size: number;
  /** The partial file; what is in it already is gone on from where the source allows that. */
  readonly part: string;
  readonly validator: PartValidator | undefined;
  readonly onValidator: (validator: PartValidator) => Promise<void>;
  readonly onProgress: (bytes: number) => void;
  readonly signal: AbortSignal;
};

export type MirrorSource = {
  /** For messages and the manifest: no credentials. */
  readonly name: string;
  /** `registry`: images are read through `/v2`; `layout`: they lie below `images/` as OCI layouts. */
  readonly imagesAs: "registry" | "layout";
  /** A server, which may publish while it is read and answers for now; false for what somebody carried here. */
  readonly isLive: boolean;
  /** A small file; undefined where there is none. Throws `too_large` or `format_limit` above the limit. */
  readonly read: (path: string, options: { readonly limit: number; readonly signal: AbortSignal; readonly accept?: string }) => Promise<Buffer | undefined>;
  /** The version whose file this was, where the source says that it is gone; undefined for any other answer. Unsigned. */
  readonly goneVersion: (path: string, signal: AbortSignal) => Promise<string | undefined>;
  readonly fetchPart: (request: PartRequest) => Promise<{ readonly resumedFrom: number }>;
  readonly close: () => Promise<void>;
};

export type HttpSourceOptions = {
  readonly url: URL;
  readonly fetch: Fetch;
  readonly credentials: { readonly keyId: string; readonly secret: string } | undefined;
  readonly isPlainHttpAllowed: boolean;
};

/** Throws `setting_invalid` for an address that is no plain http(s) URL, or that would send the pair readable over a network. */
export function httpSource(options: HttpSourceOptions): MirrorSource {
  const { url, credentials } = options;
  if (!/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")
    throw new SlipwayError("setting_invalid", "the source must be a plain http or https address without credentials", { place: "source" });
  if (url.protocol === "http:" && !isLoopback(url) && !options.isPlainHttpAllowed)
    throw new SlipwayError("setting_invalid", `${displayUrl(url)}: the access pair would travel readable`, {
      place: "source",
      hint: "use https, or set plain_http: true for a network that you trust",
    });
  const base = url.href.endsWith("/") ? url.href : `${url.href}/`;
  const remoteOf = (path: string, signal: AbortSignal): Remote => {
    // An image's tag and digest keep their colon, a query its mark; everything else is encoded segment by segment.
    const [plain = "", query] = path.split("?", 2);
    const encoded = plain
      .split("/")
      .map((segment) => encodeURIComponent(segment).replaceAll("%3A", ":"))
      .join("/");
    const target = new URL(query === undefined ? encoded : `${encoded}?${query}`, base);
    return { fetch: options.fetch, url: target, signal, ...(credentials === undefined ? {} : { credentials }) };
  };
  return {
    name: displayUrl(url),
    imagesAs: "registry",
    isLive: true,
    read: async (path, { limit, signal, accept }) => {
      try {
        const remote = remoteOf(path, signal);
        return await fetchBounded(accept === undefined ? remote : { ...remote, headers: { accept } }, limit);
      } catch (error) {
        if (error instanceof SlipwayError && error.code === "not_found") return undefined;
        throw error;
      }
    },
    goneVersion: async (path, signal) => {
      try {
        (await openRemote(remoteOf(path, signal))).abort();
        return undefined;
      } catch (error) {
        if (!(error instanceof SlipwayError) || (error.code !== "gone" && error.code !== "not_found" && error.code !== "forbidden")) throw error;
        return error.code === "gone" ? error.detail : undefined;
      }
    },
    fetchPart: async ({ path, size, part, validator, onValidator, onProgress, signal }) =>
      downloadPart({ remote: remoteOf(path, signal), size, path: part, validator, onValidator, onProgress }),
    close: async () => undefined,
  };
}

/** A tree on this machine: another mirror's `current`, a mounted disk. */
export function folderSource(folder: string): MirrorSource {
  return {
    name: `file:${folder}`,
    imagesAs: "layout",
    isLive: false,
    read: async (path, { limit }) => {
      try {
        return await readFileBounded(safeJoin(folder, path), limit);
      } catch (error) {
        if (isAbsent(error)) return undefined;
        throw error;
      }
    },
    goneVersion: async () => undefined,
    fetchPart: async (request) => {
      const file = safeJoin(folder, request.path);
      const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
        if (isAbsent(error)) throw new SlipwayError("not_found", `${file} is not there`, { place: file });
        throw error;
      });
      try {
        if (!(await handle.stat()).isFile()) throw new SlipwayError("source_unusable", `${file} is not a regular file`, { place: file });
        await writePart(handle.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>, request);
        return { resumedFrom: 0 };
      } finally {
        await handle.close();
      }
    },
    close: async () => undefined,
  };
}

function isAbsent(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}

/** Writes the bytes to the part from its start and makes them durable. Throws `too_large` (detail `size_mismatch`) or `format_invalid` for another length. */
export async function writePart(bytes: AsyncIterable<Uint8Array>, request: PartRequest): Promise<void> {
  const { path, size, part, signal, onProgress } = request;
  const handle = await open(part, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, 0o600);
  try {
    let written = 0;
    for await (const piece of bytes) {
      if (signal.aborted) throw new SlipwayError("interrupted", `${path}: interrupted`);
      written += piece.length;
      if (written > size) throw new SlipwayError("too_large", `${path} has more than its ${size} bytes`, { detail: "size_mismatch" });
      await handle.writeFile(piece);
      onProgress(written);
    }
    if (written < size) throw new SlipwayError("format_invalid", `${path} ends after ${written} of ${size} bytes`, { detail: "size_mismatch" });
    await handle.sync();
  } finally {
    await handle.close();
  }
}

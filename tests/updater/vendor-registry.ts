/** The vendor's server as a registry, too: `/v2/` for the same pair, with every blob of the releases' image archives. */
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { findOciArchiveFiles } from "../../src/formats/oci-archive.ts";
import { pair, type Vendor } from "./support.ts";

export type VendorRegistry = {
  /** Makes every blob of an archive available. */
  readonly add: (archive: Buffer) => Promise<void>;
  /** Answers instead of the registry. */
  readonly faults: { status?: number /** For a digest the bytes of another. */; readonly swapped: Map<string, string> };
};

export function serveRegistry(vendor: Vendor): VendorRegistry {
  const blobs = new Map<string, Buffer>();
  const faults: VendorRegistry["faults"] = { swapped: new Map() };
  const expected = `Basic ${Buffer.from(`${pair.keyId}:${pair.secret}`).toString("base64")}`;
  const answer = (request: IncomingMessage, response: ServerResponse): boolean => {
    const { pathname } = new URL(request.url ?? "/", "http://test");
    if (!pathname.startsWith("/v2/")) return false;
    if (faults.status !== undefined || request.headers.authorization !== expected) {
      response.writeHead(faults.status ?? 401, { "www-authenticate": 'Basic realm="slipway"' }).end();
      return true;
    }
    const [, kind, digest = ""] = /^\/v2\/toy\/(manifests|blobs)\/(sha256:[0-9a-f]{64})$/.exec(pathname) ?? [];
    const bytes = blobs.get(request.method === "GET" ? (faults.swapped.get(digest) ?? digest) : digest);
    if (pathname === "/v2/") response.writeHead(200).end("{}");
    else if (bytes === undefined) response.writeHead(404).end();
    else {
      const mediaType = kind === "blobs" ? "application/octet-stream" : (JSON.parse(bytes.toString("utf8")) as { mediaType: string }).mediaType;
      response.writeHead(200, { "content-type": mediaType, "content-length": bytes.length, "docker-content-digest": digest });
      response.end(request.method === "HEAD" ? undefined : bytes);
    }
    return true;
  };
  vendor.faults.answer = answer;
  return {
    faults,
    add: async (archive) => {
      const files = await findOciArchiveFiles(
        (async function* () {
          yield archive;
        })(),
        "archive",
      );
      for (const { offset, size } of files.values()) {
        const bytes = archive.subarray(offset, offset + size);
        blobs.set(`sha256:${createHash("sha256").update(bytes).digest("hex")}`, bytes);
      }
    },
  };
}

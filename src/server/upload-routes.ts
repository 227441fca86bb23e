/** Uploads by digest: ask where an upload stands, append from there; the last byte counts only when the digest of the whole is right. */
import { Readable } from "node:stream";
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import type { ServerContext } from "./context.ts";
import { type RouteRow, route } from "./route.ts";
import { digestSchema, uploadSchema } from "./wire.ts";

const uploadParams = z.object({ digest: digestSchema });

/** A header that counts bytes; throws `upload_invalid` where it is missing or no whole number. */
function byteCount(headers: Readonly<Record<string, unknown>>, name: string): number {
  const text = headers[name];
  if (typeof text !== "string" || !/^\d{1,15}$/.test(text)) {
    throw new SlipwayError("upload_invalid", `the header ${name} must be a count of bytes`, { hint: "send Upload-Offset and Upload-Length with each part" });
  }
  return Number(text);
}

/** Counts what comes in, and turns a connection that broke off into its own code: what came is kept for a resume. */
export async function* received(body: Readable, context: ServerContext): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of body as AsyncIterable<Uint8Array>) {
      context.metrics.bytesReceived(piece.length);
      yield piece;
    }
  } catch (error) {
    throw new Error("the upload broke off", { cause: error });
  }
}

export const uploadRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/uploads/:digest",
    access: "admin",
    tag: "uploads",
    summary: "Where the upload of these bytes stands",
    params: uploadParams,
    success: { status: 200, json: uploadSchema, text: "`live` means: nothing to send" },
    run: async ({ context, params }) => context.store.blobs.status(params.digest),
  }),
  route({
    method: "PATCH",
    path: "/api/v1/uploads/:digest",
    access: "admin",
    tag: "uploads",
    summary: "Append bytes (application/octet-stream) at Upload-Offset to an upload of Upload-Length bytes",
    params: uploadParams,
    isRawBody: true,
    success: { status: 200, json: uploadSchema, text: "The state after these bytes" },
    run: async ({ context, params, request }) => {
      const offset = byteCount(request.headers, "upload-offset");
      const size = byteCount(request.headers, "upload-length");
      const announced = request.headers["content-length"];
      if (announced !== undefined && offset + Number(announced) > size) {
        throw new SlipwayError("upload_invalid", `${announced} bytes at ${offset} are more than the announced ${size}`, { detail: "oversized" });
      }
      const done = context.metrics.uploadStarted();
      try {
        return await context.store.blobs.append({
          digest: params.digest,
          offset,
          size,
          body: received((request.body as Readable | undefined) ?? Readable.from([]), context),
        });
      } catch (error) {
        if (request.raw.destroyed && !request.raw.complete) throw new SlipwayError("upload_offset", "the upload broke off", { cause: error });
        throw error;
      } finally {
        done();
      }
    },
  }),
];

/** A registry client of a few lines for the tests: every request as plain HTTP, nothing hidden behind a library. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { RunningServer } from "./running-server.ts";

export const imageType = "application/vnd.oci.image.manifest.v1+json";
export const indexType = "application/vnd.oci.image.index.v1+json";

export const digestOf = (bytes: Uint8Array, algorithm = "sha256"): string => `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}`;

export function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}

export type Send = (method: string, path: string, options?: { readonly body?: Uint8Array; readonly headers?: Record<string, string> }) => Promise<Response>;

/** Requests under /v2/ with this authorization. */
export function registryCaller(url: string, authorization: string | undefined): Send {
  return (method, path, options = {}) =>
    fetch(new URL(path, `${url}/v2/`), {
      method,
      headers: { ...(authorization === undefined ? {} : { authorization }), ...options.headers },
      ...(options.body === undefined ? {} : { body: Uint8Array.from(options.body) }),
      redirect: "error",
    });
}

export function vendorOf(running: RunningServer): Send {
  return registryCaller(running.url, `Bearer ${running.adminToken}`);
}

/** The first error's code and message, with the status. */
export async function refusalOf(response: Response): Promise<{ readonly status: number; readonly code: string; readonly message: string }> {
  const body = (await response.json()) as { errors: { code: string; message: string }[] };
  return { status: response.status, code: body.errors[0]?.code ?? "", message: body.errors[0]?.message ?? "" };
}

export async function pushBlob(send: Send, name: string, bytes: Uint8Array): Promise<string> {
  const digest = digestOf(bytes);
  const response = await send("POST", `${name}/blobs/uploads/?digest=${digest}`, { body: bytes, headers: { "content-type": "application/octet-stream" } });
  assert.equal(response.status, 201, await response.text());
  return digest;
}

/** `address`: `<repository>/manifests/<reference>`. */
export async function putManifest(send: Send, address: string, document: unknown, type = imageType): Promise<Response> {
  return send("PUT", address, { body: Buffer.from(JSON.stringify(document)), headers: { "content-type": type } });
}

export type TestImage = { readonly digest: string; readonly layer: string; readonly config: string; readonly document: Record<string, unknown> };

/** A small image with one layer of its own; returns its digests. */
export async function pushImage(send: Send, name: string, tag: string, content = `${name}:${tag}`): Promise<TestImage> {
  const image = await imageOf(send, name, content);
  const response = await putManifest(send, `${name}/manifests/${tag}`, image.document);
  assert.equal(response.status, 201, await response.text());
  return image;
}

/** Its blobs are pushed, its manifest is not. */
export async function imageOf(send: Send, name: string, content: string, more: Record<string, unknown> = {}): Promise<TestImage> {
  const layer = Buffer.from(`layer of ${content}`);
  const config = Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [digestOf(layer)] } }));
  const document = {
    schemaVersion: 2,
    mediaType: imageType,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: await pushBlob(send, name, config), size: config.length },
    layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: await pushBlob(send, name, layer), size: layer.length }],
    ...more,
  };
  return { digest: digestOf(Buffer.from(JSON.stringify(document))), layer: digestOf(layer), config: digestOf(config), document };
}

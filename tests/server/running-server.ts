/** A real server in this process on a free port of loopback, with small real releases to serve; everything is gone after the test. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadSettings } from "../../src/config/load.ts";
import { systemClock } from "../../src/io/clock.ts";
import { parseVersion } from "../../src/model/version.ts";
import { createLog } from "../../src/server/log.ts";
import { createServer, type Server } from "../../src/server/server.ts";
import { printingPackage, writeTestDeb, writeTestRpm } from "../support/test-packages.ts";

export type JsonAnswer = { readonly status: number; readonly body: Record<string, unknown>; readonly headers: Headers };

export type RunningServer = {
  readonly url: string;
  readonly server: Server;
  readonly dataDir: string;
  readonly adminToken: string;
  /** A call of the vendor's API with the admin token. */
  readonly admin: (method: string, path: string, body?: unknown) => Promise<JsonAnswer>;
  /** One PATCH with the whole content. */
  readonly upload: (content: Uint8Array) => Promise<string>;
  readonly stop: () => Promise<void>;
};

export type TestFile = { readonly name: string; readonly content: Uint8Array };

export const hexOf = (content: Uint8Array): string => createHash("sha256").update(content).digest("hex");

export async function startServer(flags: Readonly<Record<string, string>> = {}): Promise<RunningServer> {
  const dataDir = flags["dataDir"] ?? (await mkdtemp(join(tmpdir(), "slipway-server-")));
  const settings = await loadSettings({ flags: { listen: "127.0.0.1:0", ...flags, dataDir }, env: {} });
  const server = await createServer({ settings, version: "9.9.9", clock: systemClock, log: createLog("silent"), areProcessMetricsOn: false });
  const url = await server.listen();
  const adminToken = (await readFile(join(dataDir, "admin-token"), "utf8")).trim();
  const stop = async (): Promise<void> => {
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
  return { url, server, dataDir, adminToken, ...vendorCalls({ url, adminToken }), stop };
}

/** What the vendor does at a server. */
export function vendorCalls(server: { readonly url: string; readonly adminToken: string }): Pick<RunningServer, "admin" | "upload"> {
  const admin = async (method: string, path: string, body?: unknown): Promise<JsonAnswer> => {
    const response = await fetch(`${server.url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${server.adminToken}`, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown>, headers: response.headers };
  };
  const upload = async (content: Uint8Array): Promise<string> => {
    const digest = `sha256:${hexOf(content)}`;
    const response = await patch(server, { digest, offset: 0, size: content.length, content });
    assert.equal(response.status, 200, await response.text());
    return digest;
  };
  return { admin, upload };
}

export function patch(
  server: { readonly url: string; readonly adminToken: string },
  part: { readonly digest: string; readonly offset: number; readonly size: number; readonly content: Uint8Array; readonly token?: string },
): Promise<Response> {
  return fetch(`${server.url}/api/v1/uploads/${part.digest}`, {
    method: "PATCH",
    headers: {
      authorization: `Bearer ${part.token ?? server.adminToken}`,
      "content-type": "application/octet-stream",
      "upload-offset": String(part.offset),
      "upload-length": String(part.size),
    },
    body: Uint8Array.from(part.content),
  });
}

/** A deb, an rpm and a plain binary of this version, with the manifest and the sums that publishing asks for. Unsigned. */
export async function releaseFiles(product: string, version: string, extra: readonly TestFile[] = [], channel = "stable"): Promise<readonly TestFile[]> {
  const parsed = parseVersion(version);
  const artifacts: TestFile[] = [
    { name: `${product}_${version}_amd64.deb`, content: await writeTestDeb(printingPackage(product, parsed)) },
    { name: `${product}-${version}-1.x86_64.rpm`, content: await writeTestRpm(printingPackage(product, parsed)) },
    { name: `${product}-${version}-linux-amd64`, content: Buffer.from(`#!/bin/sh\necho ${product} ${version}\n`) },
    ...extra,
  ];
  const manifest = {
    schema: 1,
    product,
    version,
    tag: `v${version}`,
    channel,
    sequence: Number(version.replaceAll(/\D/g, "")) * 1000,
    createdAt: "2026-05-01T00:00:00Z",
    artifacts: artifacts.map(({ name, content }) => ({ name, kind: kindOf(name), size: content.length, sha256: hexOf(content) })),
  };
  const listed = [...artifacts, { name: "release.json", content: Buffer.from(JSON.stringify(manifest)) }];
  const lines = listed
    .map(({ name, content }) => ({ name, line: `${hexOf(content)}  ${name}\n` }))
    .sort((left, right) => (left.name < right.name ? -1 : 1))
    .map(({ line }) => line);
  return [...listed, { name: "SHA256SUMS", content: Buffer.from(lines.join("")) }];
}

function kindOf(name: string): string {
  if (name.endsWith(".deb")) return "deb";
  if (name.endsWith("-oci.tar")) return "image";
  return name.endsWith(".rpm") ? "rpm" : "binary";
}

/** Uploads and attaches; leaves a draft. */
export async function makeDraft(running: RunningServer, product: string, version: string, extra: readonly TestFile[] = []): Promise<readonly TestFile[]> {
  return makeDraftFor(running, { product, version, extra, channel: "stable" });
}

type Draft = { readonly product: string; readonly version: string; readonly extra: readonly TestFile[]; readonly channel: string };

async function makeDraftFor(running: RunningServer, { product, version, extra, channel }: Draft): Promise<readonly TestFile[]> {
  const files = await releaseFiles(product, version, extra, channel);
  assert.equal((await running.admin("POST", "/products", { name: product })).status, 200);
  assert.equal((await running.admin("POST", `/products/${product}/releases`, { version, channel })).status, 200);
  for (const file of files) {
    const digest = await running.upload(file.content);
    const answer = await running.admin("PUT", `/products/${product}/releases/${version}/artifacts/${file.name}`, { digest, size: file.content.length });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  }
  return files;
}

export async function publish(running: RunningServer, product: string, version: string, extra: readonly TestFile[] = []): Promise<readonly TestFile[]> {
  return publishTo(running, product, version, { extra });
}

/** `options` besides the files: the channel, and how many customers see it at first. */
export async function publishTo(
  running: RunningServer,
  product: string,
  version: string,
  options: { readonly extra?: readonly TestFile[]; readonly channel?: string; readonly percent?: number; readonly beforePublish?: () => Promise<unknown> },
): Promise<readonly TestFile[]> {
  const files = await makeDraftFor(running, { product, version, extra: options.extra ?? [], channel: options.channel ?? "stable" });
  const sums = files.find(({ name }) => name === "SHA256SUMS");
  assert.ok(sums);
  await options.beforePublish?.();
  const body = { sums: `sha256:${hexOf(sums.content)}`, ...(options.percent === undefined ? {} : { percent: options.percent }) };
  const answer = await running.admin("POST", `/products/${product}/releases/${version}/publish`, body);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return files;
}

export type Pair = { readonly id: string; readonly secret: string; readonly authorization: string };

export function pairOf(id: string, secret: string): Pair {
  return { id, secret, authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}` };
}

/** An access pair of a new or known customer. */
export async function issuePair(running: RunningServer, customer: string, product: string): Promise<Pair> {
  await running.admin("POST", "/customers", { name: customer });
  const answer = await running.admin("POST", `/customers/${customer}/keys`, { product });
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  return pairOf(String(answer.body["id"]), String(answer.body["secret"]));
}

export function get(running: RunningServer, path: string, pair?: Pair, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
  return fetch(running.url + path, { headers: { ...(pair === undefined ? {} : { authorization: pair.authorization }), ...headers } });
}

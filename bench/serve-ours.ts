/** Our side of the serving benchmark: a server process of its own, and what a vendor publishes on it for one customer. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, openAsBlob } from "node:fs";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pipeline } from "node:stream/promises";
import { type TestImage, pushImage, registryCaller } from "../tests/server/registry-client.ts";
import { type FileSide, freePort, hexOf, stop, untilReady } from "./serve-side.ts";

const root = resolve(import.meta.dirname, "..");

export type Ours = FileSide & { readonly process: ChildProcess; readonly dataDir: string; readonly url: string; readonly image: TestImage };

/** On disk: one of them has a gigabyte. `hex` is its SHA-256. */
export type StoredFile = { readonly path: string; readonly size: number; readonly hex: string };

/** Files of the release by name. */
export type Files = Readonly<Record<string, StoredFile>>;

/** An empty server with one release of these files and one image, pulled as `bench:1.0.0`. */
export async function startOurs(folder: string, files: Files): Promise<Ours> {
  const dataDir = join(folder, "data");
  const url = `http://127.0.0.1:${await freePort()}`;
  const argv = [
    "--disable-warning=ExperimentalWarning",
    join(root, "src/main.ts"),
    "serve",
    "--data-dir",
    dataDir,
    "--listen",
    new URL(url).host,
    "--log-level",
    "warn",
  ];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "ignore", "inherit"] });
  const { pair, image } = await publishOn({ url, dataDir, folder }, files).catch(async (error: unknown) => {
    await stop(child);
    throw error;
  });
  const version = (JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string }).version;
  return {
    name: "slipway",
    version,
    pid: child.pid ?? 0,
    process: child,
    dataDir,
    url,
    image,
    authorization: `Basic ${Buffer.from(`${pair.id}:${pair.secret}`).toString("base64")}`,
    indexUrl: `${url}/releases/bench/1.0.0/index.bin`,
    artifactUrl: `${url}/releases/bench/1.0.0/artifact.bin`,
  };
}

async function publishOn(at: { readonly url: string; readonly dataDir: string; readonly folder: string }, files: Files) {
  await untilReady(`${at.url}/readyz`, {});
  const token = (await readFile(join(at.dataDir, "admin-token"), "utf8")).trim();
  return publishFiles({ url: at.url, token, folder: at.folder }, files);
}

async function api(
  url: string,
  token: string,
  call: { readonly method: string; readonly path: string; readonly body: unknown },
): Promise<Record<string, unknown>> {
  const response = await fetch(`${url}/api/v1${call.path}`, {
    method: call.method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(call.body),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  if (!response.ok) throw new Error(`${call.method} ${call.path}: ${response.status} ${JSON.stringify(answer)}`);
  return answer;
}

/** A release of these files and an image as any vendor would publish it, and a customer's pair for it. */
async function publishFiles(
  at: { readonly url: string; readonly token: string; readonly folder: string },
  files: Files,
): Promise<{ readonly pair: { readonly id: string; readonly secret: string }; readonly image: TestImage }> {
  const { url, token } = at;
  const artifacts = Object.entries(files).map(([name, { size, hex }]) => ({ name, kind: "binary", size, sha256: hex }));
  const manifest = {
    schema: 1,
    product: "bench",
    version: "1.0.0",
    tag: "v1.0.0",
    channel: "stable",
    sequence: 1,
    createdAt: "2026-01-01T00:00:00Z",
    artifacts,
  };
  const listed: Files = { ...files, "release.json": await writtenFile(join(at.folder, "release.json"), Buffer.from(JSON.stringify(manifest))) };
  const lines = Object.keys(listed)
    .sort()
    .map((name) => `${listed[name]?.hex}  ${name}\n`);
  const sums = await writtenFile(join(at.folder, "SHA256SUMS"), Buffer.from(lines.join("")));
  await api(url, token, { method: "POST", path: "/products", body: { name: "bench" } });
  await api(url, token, { method: "POST", path: "/products/bench/releases", body: { version: "1.0.0", channel: "stable" } });
  for (const [name, { path, size, hex }] of Object.entries({ ...listed, SHA256SUMS: sums })) {
    const digest = `sha256:${hex}`;
    const headers = {
      authorization: `Bearer ${token}`,
      "content-type": "application/octet-stream",
      "upload-offset": "0",
      "upload-length": String(size),
    };
    const sent = await fetch(`${url}/api/v1/uploads/${digest}`, { method: "PATCH", headers, body: await openAsBlob(path) });
    if (!sent.ok) throw new Error(await sent.text());
    await api(url, token, { method: "PUT", path: `/products/bench/releases/1.0.0/artifacts/${name}`, body: { digest, size } });
  }
  const image = await pushImage(registryCaller(url, `Bearer ${token}`), "bench", "1.0.0");
  await api(url, token, { method: "POST", path: "/products/bench/releases/1.0.0/publish", body: { sums: `sha256:${sums.hex}` } });
  await api(url, token, { method: "POST", path: "/customers", body: { name: "reader" } });
  const issued = await api(url, token, { method: "POST", path: "/customers/reader/keys", body: { product: "bench" } });
  return { pair: { id: String(issued["id"]), secret: String(issued["secret"]) }, image };
}

/** Writes it, and says what a release says of it. */
export async function writtenFile(path: string, content: Uint8Array): Promise<StoredFile> {
  await writeFile(path, content);
  return { path, size: content.length, hex: hexOf(content) };
}

/** As many zeros as a sparse file of this size has; the server stores every one of them. */
export async function sparseFile(path: string, size: number): Promise<StoredFile> {
  await writeFile(path, "");
  await truncate(path, size);
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return { path, size, hex: hash.digest("hex") };
}

/** Downloads in the audit trail, read from the closed database. */
export function recordedDownloads(dataDir: string): number {
  const database = new DatabaseSync(join(dataDir, "slipway.db"), { readOnly: true });
  const row = database.prepare("select count(*) as n from audit_events where action = 'download' and result = 'complete'").get() as { n: number };
  database.close();
  return row.n;
}

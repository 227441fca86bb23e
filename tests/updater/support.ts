/** A vendor, its server and a customer's machine for the updater's tests: real signatures, real archives, real HTTP, a toy product. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { gzipSync } from "node:zlib";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { createTarWriter } from "../../src/formats/tar.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import type { Manifest } from "../../src/model/manifest.ts";
import { isStable, parseVersion } from "../../src/model/version.ts";
import { formatChecksums } from "../../src/trust/checksums.ts";
import { formatMinisignPublicKey, generateMinisignKey, type MinisignSecretKey } from "../../src/trust/minisign-key.ts";
import { createReleaseSigner, signSums } from "../../src/trust/release-signature.ts";
import { type Installation, loadInstallation } from "../../src/updater/installation.ts";
import { type Machine, thisMachine, type UpdateEvent } from "../../src/updater/machine.ts";
import { createUpdater, type Updater } from "../../src/updater/updater.ts";
import { shortSleep } from "./short-sleep.ts";
import { plantMemberType } from "../support/crooked-tar.ts";

export const product = "toy";
export const pair = { keyId: "acme-1", secret: "toy-secret-4711" };

export type FileOf = Readonly<Record<string, { readonly content: string | Uint8Array; readonly mode?: number }>>;
export type TestRelease = Map<string, Buffer>;

const bytesOf = (content: string | Uint8Array): Buffer => (typeof content === "string" ? Buffer.from(content, "utf8") : Buffer.from(content));
const hexOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** The product: two programs that must be of one version; `serve` starts (writes what runs) and moves the state on. */
export function toyFiles(
  version: string,
  kind: "good" | "crashes" | "lies" = "good",
): Readonly<Record<string, { readonly content: string; readonly mode: number }>> {
  const start = { good: `. "$1/serve.sh"`, crashes: "exit 127", lies: `echo 0.0.1 > "$1/run/version"` }[kind];
  return {
    "bin/toy": { content: `#!/bin/sh\nVERSION=${version}\n${start}\n`, mode: 0o755 },
    "bin/toyctl": { content: `#!/bin/sh\necho ${version}\n`, mode: 0o755 },
    "share/readme.txt": { content: `toy ${version}\n${noise(version)}\n`, mode: 0o644 },
  };
}

/** Text that gzip cannot make small: the archive must be long enough to be cut. */
function noise(seed: string): string {
  return Array.from({ length: 100 }, (_, index) => hexOf(Buffer.from(`${seed} ${index}`))).join("\n");
}

export type TarEntry = {
  readonly name: string;
  readonly content?: string | Uint8Array;
  readonly mode?: number;
  readonly target?: string;
  readonly type?: string;
};

/** A tar.gz as our own builder writes it; `type` plants a member type that it never writes. */
export async function tarGz(entries: readonly TarEntry[]): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const writer = createTarWriter((piece) => void pieces.push(Buffer.from(piece)));
  for (const { name, content, mode = 0o755, target, type } of entries) {
    const at = pieces.length;
    if (target !== undefined) await writer.add({ name, kind: "symlink", mode, epochSeconds: 1, target });
    else await writer.add({ name, kind: "file", mode, epochSeconds: 1 }, bytesSource(bytesOf(content ?? "")));
    const header = pieces[at];
    if (type !== undefined && header !== undefined) plantMemberType(header, type);
  }
  await writer.end();
  return gzipSync(Buffer.concat(pieces));
}

export type ReleaseOptions = {
  readonly sequence?: number;
  readonly files?: FileOf;
  /** Instead of an archive, or a binary, made of `files`. */
  readonly archive?: Buffer;
  readonly kind?: "archive" | "binary";
  /** Package files and images besides: name -> kind and bytes, for linux/amd64. */
  readonly packages?: Readonly<
    Record<
      string,
      { readonly kind: "deb" | "rpm" | "apk" | "image" | "delta"; readonly bytes: Uint8Array } & Pick<Manifest["artifacts"][number], "image" | "delta">
    >
  >;
  readonly changeManifest?: (manifest: Manifest) => unknown;
  readonly changeSums?: (sums: string) => string;
  readonly key?: MinisignSecretKey;
};

export type Vendor = {
  readonly key: MinisignSecretKey;
  readonly publicKey: string;
  readonly url: string;
  readonly port: number;
  readonly releases: Map<string, TestRelease>;
  readonly release: (version: string, options?: ReleaseOptions) => Promise<TestRelease>;
  /** What the index says; by default the truth. */
  readonly faults: {
    index?: () => unknown;
    /** Answers instead of the server when it returns true. */
    answer?: (request: IncomingMessage, response: ServerResponse, file: string) => boolean | Promise<boolean>;
  };
  /** `GET /path range` of every request, in order. */
  readonly requests: string[];
  readonly close: () => Promise<void>;
};

export const archiveName = (version: string): string => `toy-v${version}-linux-amd64.tar.gz`;

export async function startVendor(t?: TestContext): Promise<Vendor> {
  const key = generateMinisignKey();
  const releases = new Map<string, TestRelease>();
  const faults: Vendor["faults"] = {};
  const requests: string[] = [];
  let sequence = 1000;
  const server: Server = createServer((request, response) => void answer(request, response));
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://test");
    requests.push(`${request.method ?? ""} ${url.pathname}${request.headers.range === undefined ? "" : ` ${request.headers.range}`}`);
    const [, area, name, version, file] = url.pathname.split("/").map(decodeURIComponent);
    if (faults.answer !== undefined && (await faults.answer(request, response, file ?? version ?? ""))) return;
    if (request.headers.authorization !== `Basic ${Buffer.from(`${pair.keyId}:${pair.secret}`).toString("base64")}`) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="slipway"' }).end();
    } else if (area === "releases" && name === product && version === "index.json") {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(faults.index?.() ?? indexOf(releases)));
    } else send(request, response, releases.get(version ?? "")?.get(file ?? ""));
  };
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  t?.after(close);
  return {
    key,
    publicKey: formatMinisignPublicKey(key).trim().split("\n").at(-1) ?? "",
    url: `http://127.0.0.1:${port}`,
    port,
    releases,
    faults,
    requests,
    close,
    release: async (version, options = {}) => {
      sequence += 1;
      const release = await makeRelease(version, { sequence, key, ...options });
      releases.set(version, release);
      return release;
    },
  };
}

function indexOf(releases: ReadonlyMap<string, TestRelease>): unknown {
  return {
    schema: 1,
    product,
    channels: {},
    releases: [...releases].map(([version, files]) => {
      const manifest = JSON.parse(files.get("release.json")?.toString("utf8") ?? "{}") as Manifest;
      return { version, channel: manifest.channel, sequence: manifest.sequence, publishedAt: "2026-01-01T00:00:00Z", state: "published" };
    }),
    retired: [],
  };
}

/** Ranges with a strong ETag, as a static server does it. */
export function send(request: IncomingMessage, response: ServerResponse, bytes: Buffer | undefined): void {
  if (bytes === undefined) {
    response.writeHead(404).end();
    return;
  }
  const etag = `"${hexOf(bytes).slice(0, 16)}"`;
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
  if (from > 0 && request.headers["if-range"] === etag) {
    if (from >= bytes.length) {
      response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
      return;
    }
    response.writeHead(206, { etag, "content-length": bytes.length - from, "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` });
    response.end(bytes.subarray(from));
    return;
  }
  response.writeHead(200, { etag, "content-length": bytes.length }).end(bytes);
}

async function makeRelease(
  versionText: string,
  options: ReleaseOptions & { readonly sequence: number; readonly key: MinisignSecretKey },
): Promise<TestRelease> {
  const version = parseVersion(versionText);
  const files = options.files ?? toyFiles(version);
  const isBinary = options.kind === "binary";
  const name = isBinary ? `toy-${version}-linux-amd64` : archiveName(version);
  const bytes = isBinary
    ? (options.archive ?? bytesOf(Object.values(files)[0]?.content ?? ""))
    : (options.archive ??
      (await tarGz(Object.entries(files).map(([path, { content, mode }]) => ({ name: path, content, ...(mode === undefined ? {} : { mode }) })))));
  const manifest: Manifest = {
    schema: 1,
    product,
    version,
    tag: `v${version}`,
    channel: isStable(version) ? "stable" : "preview",
    sequence: options.sequence,
    createdAt: "2026-01-01T00:00:00Z",
    artifacts: [
      {
        name,
        kind: isBinary ? "binary" : "archive",
        os: "linux",
        arch: "amd64",
        size: bytes.length,
        sha256: hexOf(bytes),
        ...(isBinary
          ? {}
          : {
              files: Object.entries(files).map(([path, { content, mode = 0o755 }]) => ({
                path,
                sha256: hexOf(bytesOf(content)),
                mode,
                size: Buffer.byteLength(content),
              })),
            }),
      },
      ...Object.entries(options.packages ?? {}).map(([fileName, one]) => ({
        name: fileName,
        kind: one.kind,
        os: "linux" as const,
        arch: "amd64" as const,
        size: one.bytes.length,
        sha256: hexOf(one.bytes),
        ...(one.image === undefined ? {} : { image: one.image }),
        ...(one.delta === undefined ? {} : { delta: one.delta }),
      })),
    ],
  };
  const manifestBytes = Buffer.from(JSON.stringify(options.changeManifest?.(manifest) ?? manifest));
  const packages = Object.entries(options.packages ?? {});
  const plain = formatChecksums([
    [name, hexOf(bytes)],
    ...packages.map(([fileName, one]): [string, string] => [fileName, hexOf(one.bytes)]),
    ["release.json", hexOf(manifestBytes)],
  ]);
  const sums = Buffer.from(options.changeSums?.(plain) ?? plain);
  const release: TestRelease = new Map([
    [name, bytes],
    ["release.json", manifestBytes],
    ["SHA256SUMS", sums],
    ...packages.map(([fileName, one]): [string, Buffer] => [fileName, Buffer.from(one.bytes)]),
  ]);
  const signer = createReleaseSigner({ minisign: options.key, epochSeconds: options.sequence });
  for (const signed of await signSums({ sums, sumsName: "SHA256SUMS", product, version, sequence: options.sequence }, signer)) {
    release.set(signed.name, Buffer.from(signed.bytes));
  }
  return release;
}

export type Site = {
  readonly folder: string;
  readonly root: string;
  readonly stateDir: string;
  readonly updates: string;
  readonly file: string;
  readonly installation: () => Promise<Installation>;
  readonly updater: (machine?: Partial<Machine>) => Promise<Updater>;
  /** Everything that the last updater of `updater()` reported. */
  readonly events: UpdateEvent[];
  /** What the product says that runs; undefined when nothing runs. */
  readonly running: () => Promise<string | undefined>;
  /** The live programs' version, read from the files. */
  readonly live: () => Promise<string | undefined>;
  readonly state: () => Promise<string | undefined>;
};

export type SiteOptions = {
  readonly strategy?: "versions" | "inplace";
  readonly extra?: string;
  readonly health?: string;
  readonly trust?: string;
  readonly url?: string;
  readonly source?: string;
  readonly service?: string;
};

/** A machine of a customer: installation file, state to back up, start and stop scripts. */
export async function makeSite(vendor: Vendor, options: SiteOptions = {}, t?: TestContext): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-updater-"));
  t?.after(() => rm(folder, { recursive: true, force: true }));
  const { strategy = "versions" } = options;
  const root = join(folder, "opt");
  const stateDir = join(folder, "var");
  const program = strategy === "versions" ? join(root, "current/bin") : join(root, "bin");
  await mkdir(join(folder, "run"));
  await mkdir(join(folder, "data"));
  await mkdir(root);
  await writeFile(join(folder, "data/format"), "fresh\n");
  await writeFile(join(folder, "secret"), `${pair.secret}\n`, { mode: 0o600 });
  // Both programs must agree: an installation that is half one version must never be started.
  await writeFile(
    join(folder, "serve.sh"),
    `other=$(${program}/toyctl)\n[ "$other" = "$VERSION" ] || { echo "$VERSION/$other" >> ${folder}/mixed; exit 1; }\necho "$VERSION" > ${folder}/data/format\n: > ${folder}/data/made-by-$VERSION\necho "$VERSION" > ${folder}/run/version\n`,
  );
  await writeFile(join(folder, "start.sh"), `#!/bin/sh\nexec ${program}/toy ${folder}\n`, { mode: 0o755 });
  const file = join(folder, "installation.yaml");
  await writeFile(
    file,
    `product: toy
strategy: ${strategy}
root: opt
state_dir: var
target: linux/amd64
source:
  url: ${options.url ?? vendor.url}
  key_id: ${pair.keyId}
  secret: file:secret
${options.source ?? ""}
trust: ${options.trust ?? `{ minisign: [${vendor.publicKey}] }`}
backup: { paths: [data] }
${options.service ?? `service: { stop: [rm, -f, ${folder}/run/version], start: [${folder}/start.sh] }`}
${options.health ?? `health: { deadline_seconds: 0.2, interval_seconds: 0.02, consecutive: 1, bake_seconds: 0, tries: 3, checks: [{ command: { argv: [cat, ${folder}/run/version], version: "[0-9].*" } }] }`}
${options.extra ?? ""}
`,
  );
  const events: UpdateEvent[] = [];
  const text = async (path: string): Promise<string | undefined> =>
    readFile(path, "utf8").then(
      (content) => content.trim(),
      () => undefined,
    );
  const installation = (): Promise<Installation> => loadInstallation(file);
  return {
    folder,
    root,
    stateDir,
    updates: join(stateDir, "updates"),
    file,
    installation,
    events,
    updater: async (machine = {}) => createUpdater(await installation(), { ...thisMachine((event) => void events.push(event)), sleep: shortSleep, ...machine }),
    running: () => text(join(folder, "run/version")),
    live: async () => /VERSION=(.*)/.exec((await text(join(program, "toy"))) ?? "")?.[1],
    state: () => text(join(folder, "data/format")),
  };
}

export const noSignal = new AbortController().signal;

/** The failure of a promise that must fail with this code. */
export async function failure(promise: Promise<unknown>, code: string, detail?: string): Promise<SlipwayError> {
  const error = await promise.then(
    () => assert.fail(`it should have failed with ${code}`),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof SlipwayError, `not one of ours: ${String(error)}`);
  assert.equal(error.code, code, error.message);
  if (detail !== undefined) assert.equal(error.detail, detail, error.message);
  return error;
}

export async function readJson(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
}

export const liveLink = (site: Site): Promise<string> => readlink(join(site.root, "current"));

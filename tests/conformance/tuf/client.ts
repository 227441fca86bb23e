/**
 * The updater's TUF client behind the command line of theupdateframework/tuf-conformance (CLIENT-CLI.md there): `init`, `refresh`, `download`.
 *
 * The suite wants to read what is trusted as plain files, so the current set is copied to its folder after each command; the client's own
 * sets lie in `.slipway` below it.
 */
import { createHash } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { asSlipwayError } from "../../../src/model/errors.ts";
import type { TufFloor } from "../../../src/trust/tuf-client.ts";
import { openTufSession, type TufSession } from "../../../src/updater/tuf-session.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "metadata-dir": { type: "string" },
    "metadata-url": { type: "string" },
    "target-name": { type: "string", multiple: true },
    "target-base-url": { type: "string" },
    "target-dir": { type: "string" },
  },
});
const metadataDir = values["metadata-dir"] ?? "";
const own = join(metadataDir, ".slipway");
const base = (url: string | undefined): string => (url ?? "").replace(/\/$/, "");
const sets = join(own, "sets");
const floorFile = join(own, "floor.json");

async function fetchBytes(url: string): Promise<Uint8Array | undefined> {
  const response = await fetch(url);
  if (response.status === 404 || response.status === 403) return undefined;
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function openSession(): Promise<TufSession> {
  return openTufSession({
    folder: sets,
    pinnedRoot: await readFile(join(own, "pinned.json")),
    floor: await readFile(floorFile, "utf8").then(
      (text) => JSON.parse(text) as TufFloor,
      () => undefined,
    ),
    now: new Date(),
    source: {
      metadata: async (name, limit) => {
        const bytes = await fetchBytes(`${base(values["metadata-url"])}/${name}`);
        if (bytes !== undefined && bytes.length > limit) throw new Error(`${name} is longer than ${limit} bytes`);
        return bytes;
      },
    },
    onRepair: (text) => process.stderr.write(`${text}\n`),
  });
}

async function publishTrusted(): Promise<void> {
  const current = join(sets, "current");
  for (const name of await readdir(metadataDir)) if (name.endsWith(".json")) await rm(join(metadataDir, name));
  await copyFile(join(own, "pinned.json"), join(metadataDir, "root.json")); // as long as no set was committed
  for (const name of await readdir(current).catch(() => [])) await copyFile(join(current, name), join(metadataDir, name));
}

async function download(session: TufSession, name: string): Promise<void> {
  const found = await session.find(name);
  if (found === undefined) throw new Error(`${name} is not listed`);
  const { hashes, length } = found.target;
  const [algorithm, hash] = Object.entries(hashes)[0] ?? [];
  const isRight = (bytes: Uint8Array): boolean =>
    bytes.length === length && Object.entries(hashes).every(([kind, hex]) => createHash(kind).update(bytes).digest("hex") === hex);
  const file = join(values["target-dir"] ?? "", encodeURIComponent(name)); // a name never becomes a path
  const present = await readFile(file).catch(() => undefined);
  if (present !== undefined && isRight(present)) return;
  const parts = name.split("/");
  const last = parts.pop() ?? "";
  const isHashed = session.trust().root.signed.consistent_snapshot && algorithm !== undefined;
  const bytes = await fetchBytes(`${base(values["target-base-url"])}/${[...parts, isHashed ? `${hash ?? ""}.${last}` : last].join("/")}`);
  if (bytes === undefined || !isRight(bytes)) throw new Error(`${name} is not what is listed`);
  await writeFile(file, bytes);
}

async function run(): Promise<void> {
  if (positionals[0] === "init") {
    await mkdir(own, { recursive: true, mode: 0o700 });
    await copyFile(positionals[1] ?? "", join(own, "pinned.json"));
    await copyFile(positionals[1] ?? "", join(metadataDir, "root.json"));
    return;
  }
  const session = await openSession();
  try {
    await session.refresh();
    if (positionals[0] === "download") for (const name of values["target-name"] ?? []) await download(session, name);
  } finally {
    await writeFile(floorFile, JSON.stringify(session.floor()));
    await publishTrusted();
  }
}

await run().catch((error: unknown) => {
  const { code, message } = asSlipwayError(error);
  process.stderr.write(`${code}: ${message}\n`);
  process.exitCode = 1;
});

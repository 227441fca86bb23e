/** Debian's docker-registry with the same image as ours: the peer for manifests, open and behind htpasswd. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { imageType, putManifest, registryCaller, type Send } from "../tests/server/registry-client.ts";
import type { Ours } from "./serve-ours.ts";
import { freePort, program, type Side, untilReady } from "./serve-side.ts";

/** A side that serves one image manifest. */
export type ImageSide = Side & { readonly tagUrl: string; readonly digestUrl: string };

const secret = "loopback-reader";
/** bcrypt of it with cost 5, what `htpasswd -B` writes unless told otherwise; the registry reads nothing else. */
const htpasswdLine = "reader:$2b$05$abcdefghijklmnopqrstuukEWlSVnNzgoolx4gcrtAC/JsjtZT1WO\n";

/** `started` gets each process at once, to stop it whatever happens next. Both with an access log in a file, as nginx has one. Empty where docker-registry is not installed. */
export async function startRegistries(folder: string, ours: Ours, started: (child: ChildProcess) => void): Promise<readonly ImageSide[]> {
  const binary = program("docker-registry");
  if (binary === undefined) return [];
  const passwords = join(folder, "htpasswd");
  await writeFile(passwords, htpasswdLine);
  const auth = ["auth:", "  htpasswd:", "    realm: bench", `    path: ${passwords}`];
  return [
    await startRegistry({ binary, folder: join(folder, "registry-open"), name: "docker-registry open", auth: [] }, { ours, started }),
    await startRegistry({ binary, folder: join(folder, "registry-htpasswd"), name: "docker-registry htpasswd", auth }, { ours, started }),
  ];
}

async function startRegistry(
  peer: { readonly binary: string; readonly folder: string; readonly name: string; readonly auth: readonly string[] },
  at: { readonly ours: Ours; readonly started: (child: ChildProcess) => void },
): Promise<ImageSide> {
  await mkdir(peer.folder);
  const url = `http://127.0.0.1:${await freePort()}`;
  const storage = ["storage:", "  cache:", "    blobdescriptor: inmemory", "  filesystem:", `    rootdirectory: ${join(peer.folder, "data")}`];
  const config = ["version: 0.1", "log:", "  level: info", ...storage, "http:", `  addr: ${new URL(url).host}`, ...peer.auth, ""];
  const file = join(peer.folder, "config.yml");
  await writeFile(file, config.join("\n"));
  const log = await open(join(peer.folder, "log"), "w");
  const child = spawn(peer.binary, ["serve", file], { stdio: ["ignore", log.fd, log.fd], env: { PATH: process.env["PATH"] ?? "" } });
  at.started(child);
  await log.close();
  const authorization = `Basic ${Buffer.from(`reader:${secret}`).toString("base64")}`;
  await untilReady(`${url}/v2/`, { authorization });
  await copyImage(at.ours, registryCaller(url, authorization), url);
  const version = /(\d[\w.+]*)\s*$/.exec(spawnSync(peer.binary, ["--version"]).stdout.toString())?.[1] ?? "unknown";
  return { name: peer.name, version, pid: child.pid ?? 0, authorization, ...manifestUrls(url, at.ours.image) };
}

/** The blobs as ours serves them; this registry takes none in a single POST, only by POST and PUT (distribution-spec 1.1, end-4a and end-6). */
async function copyImage({ url, authorization, image }: Ours, send: Send, to: string): Promise<void> {
  for (const digest of [image.config, image.layer]) {
    const body = await (await registryCaller(url, authorization)("GET", `bench/blobs/${digest}`)).bytes();
    const session = await send("POST", "bench/blobs/uploads/");
    const place = new URL(session.headers.get("location") ?? "", to);
    place.searchParams.set("digest", digest);
    const stored = await send("PUT", place.href, { body, headers: { "content-type": "application/octet-stream" } });
    if (stored.status !== 201) throw new Error(`the peer refused a blob: ${stored.status} ${await stored.text()}`);
  }
  const stored = await putManifest(send, "bench/manifests/1.0.0", image.document, imageType);
  if (stored.status !== 201) throw new Error(`the peer refused the manifest: ${stored.status} ${await stored.text()}`);
}

export function manifestUrls(url: string, image: Ours["image"]): Pick<ImageSide, "tagUrl" | "digestUrl"> {
  return { tagUrl: `${url}/v2/bench/manifests/1.0.0`, digestUrl: `${url}/v2/bench/manifests/${image.digest}` };
}

/** `/v2` of a mirror that is served: pulls from the OCI image layouts of the tree (OCI distribution-spec 1.1, endpoints end-1, end-2, end-3, end-8, end-12). */
import { z } from "zod";
import { ociDocumentLimit, ociMediaTypes, parseOciJson } from "../formats/oci-descriptor.ts";
import { refNameAnnotation } from "../formats/oci-layout.ts";
import { readPushedManifest } from "../formats/oci-pushed-manifest.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { safeJoin } from "../io/safe-path.ts";
import { type MirrorRequest, sendTreeFile, status } from "./mirror-tree.ts";
import { checkRepositoryName, readOciAddress } from "./oci-address.ts";

const indexSchema = z.looseObject({
  manifests: z.array(
    z.looseObject({
      mediaType: z.string(),
      digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
      size: z.int().nonnegative(),
      annotations: z.record(z.string(), z.string()).optional(),
    }),
  ),
});
type Entry = z.output<typeof indexSchema>["manifests"][number];

const typedSchema = z.looseObject({ mediaType: z.string().optional(), manifests: z.unknown().optional() });

/** Answers, or throws a refusal with the registry's own code. */
export async function answerMirrorImages(wanted: MirrorRequest): Promise<void> {
  wanted.response.setHeader("Docker-Distribution-API-Version", "registry/2.0");
  const rest = wanted.path.replace(/^v2\/?/, "");
  if (rest === "") {
    sendJson(wanted, {}, "application/json");
    return;
  }
  const target = readOciAddress(rest);
  if (target === undefined || target.kind === "upload") throw status(404, "there is nothing at this address", "NAME_UNKNOWN");
  const name = checkRepositoryName(target.name);
  switch (target.kind) {
    case "blob":
      await sendTreeFile(wanted, blobFile(name, requireDigest(target.digest, "BLOB_UNKNOWN"), "application/octet-stream"));
      return;
    case "manifest": {
      const digest = target.reference.includes(":") ? requireDigest(target.reference, "MANIFEST_UNKNOWN") : await digestOfTag(wanted, name, target.reference);
      await sendTreeFile(wanted, blobFile(name, digest, await mediaTypeOfManifest(wanted, name, digest)));
      return;
    }
    case "tags": {
      const tags = (await readEntries(wanted, name)).flatMap(({ annotations }) => annotations?.[refNameAnnotation] ?? []).sort();
      const last = wanted.query.get("last");
      const count = Number(wanted.query.get("n") ?? tags.length);
      const after = last === null ? tags : tags.filter((tag) => tag > last);
      const page = after.slice(0, Number.isSafeInteger(count) && count >= 0 ? count : after.length);
      const end = page.at(-1);
      if (end !== undefined && page.length < after.length)
        wanted.response.setHeader("Link", `</v2/${name}/tags/list?n=${page.length}&last=${encodeURIComponent(end)}>; rel="next"`);
      sendJson(wanted, { name, tags: page }, "application/json");
      return;
    }
    case "referrers":
      await sendReferrers(wanted, name, requireDigest(target.digest, "MANIFEST_UNKNOWN"));
      return;
    default:
      target satisfies never;
  }
}

async function sendReferrers(wanted: MirrorRequest, name: string, subject: string): Promise<void> {
  const filter = wanted.query.get("artifactType");
  const manifests: unknown[] = [];
  for (const { mediaType, digest, size, annotations } of await readEntries(wanted, name)) {
    if (annotations?.[refNameAnnotation] !== undefined) continue;
    const read = readPushedManifest(await readBlob(wanted, name, digest), mediaType);
    if (read.subject !== subject || (filter !== null && read.artifactType !== filter)) continue;
    const artifactType = read.artifactType === undefined ? {} : { artifactType: read.artifactType };
    manifests.push({ mediaType, digest, size, ...artifactType, ...(Object.keys(read.annotations).length === 0 ? {} : { annotations: read.annotations }) });
  }
  if (filter !== null) wanted.response.setHeader("OCI-Filters-Applied", "artifactType");
  sendJson(wanted, { schemaVersion: 2, mediaType: ociMediaTypes.index, manifests }, ociMediaTypes.index);
}

function requireDigest(text: string, code: string): string {
  if (!/^sha256:[0-9a-f]{64}$/.test(text)) throw status(404, "this mirror has no such digest", code);
  return text;
}

function blobFile(name: string, digest: string, mediaType: string): Parameters<typeof sendTreeFile>[1] {
  return { path: blobPath(name, digest), mediaType, isImmutable: false, headers: { "Docker-Content-Digest": digest } };
}

const blobPath = (name: string, digest: string): string => `images/${name}/blobs/sha256/${digest.slice("sha256:".length)}`;

async function digestOfTag(wanted: MirrorRequest, name: string, tag: string): Promise<string> {
  const entry = (await readEntries(wanted, name)).find(({ annotations }) => annotations?.[refNameAnnotation] === tag);
  if (entry === undefined) throw status(404, `${name} has no tag ${tag.slice(0, 128)} here`, "MANIFEST_UNKNOWN");
  return entry.digest;
}

async function mediaTypeOfManifest(wanted: MirrorRequest, name: string, digest: string): Promise<string> {
  const { mediaType, manifests } = parseOciJson(await readBlob(wanted, name, digest), typedSchema, digest);
  return mediaType ?? (manifests === undefined ? ociMediaTypes.manifest : ociMediaTypes.index);
}

async function readEntries({ tree }: MirrorRequest, name: string): Promise<readonly Entry[]> {
  const bytes = await readOrRefuse(safeJoin(tree, `images/${name}/index.json`), "NAME_UNKNOWN");
  return parseOciJson(bytes, indexSchema, "index.json").manifests;
}

/** Throws MANIFEST_UNKNOWN also for a blob that is too large to be a manifest. */
async function readBlob({ tree }: MirrorRequest, name: string, digest: string): Promise<Buffer> {
  return readOrRefuse(safeJoin(tree, blobPath(name, digest)), "MANIFEST_UNKNOWN");
}

async function readOrRefuse(path: string, code: string): Promise<Buffer> {
  try {
    return await readFileBounded(path, ociDocumentLimit, { isLinkAllowed: false });
  } catch {
    throw status(404, "this mirror has no such image", code);
  }
}

function sendJson({ request, response }: MirrorRequest, value: unknown, mediaType: string): void {
  const bytes = Buffer.from(JSON.stringify(value));
  response.writeHead(200, { "Content-Type": mediaType, "Content-Length": bytes.length, "Cache-Control": "no-store" });
  response.end(request.method === "HEAD" ? undefined : bytes);
}

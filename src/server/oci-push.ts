/** What the vendor writes to the registry: uploads, mounts, manifests and deletions (OCI distribution-spec 1.1, end-4 to end-7, end-9 to end-11, end-13, end-14). */
import { Readable } from "node:stream";
import { actorOf } from "../access/principal.ts";
import { ociDocumentLimit } from "../formats/oci-descriptor.ts";
import { type OciDigest, parseOciDigest } from "../formats/oci-digest.ts";
import { readStreamBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { beginUpload, cancelUpload, deleteBlob, finishUpload, mountBlob, uploadOffset } from "../releases/oci-blobs.ts";
import { deleteManifest, deleteTag, putManifest } from "../releases/oci-manifests.ts";
import { findRepository, type OciRepository, openRepository, requireRepository } from "../releases/oci-repositories.ts";
import { readReference, readTag } from "./oci-address.ts";
import type { OciCall, OciCaller } from "./oci-caller.ts";
import { ociRefusal } from "./oci-errors.ts";
import { received } from "./upload-routes.ts";

export type Push = { readonly call: OciCall; readonly caller: OciCaller; readonly name: string };

/** A manifest pushed by digest may be given so many tags at once; the specification wants at least ten. */
const tagLimit = 50;

const parametersOf = (push: Push): URLSearchParams => new URL(push.call.request.url, "http://registry").searchParams;
const blobLocation = (name: string, digest: OciDigest): string => `/v2/${name}/blobs/${digest}`;

/** end-4 and end-11: a mount where the blob is somewhere here, a whole blob where the digest is told, else a session. */
export async function startUpload(push: Push): Promise<void> {
  const { call, name } = push;
  const { store } = call.context;
  const parameters = parametersOf(push);
  const algorithm = parameters.get("digest-algorithm");
  if (algorithm !== null && algorithm !== "sha256" && algorithm !== "sha512") throw ociRefusal("DIGEST_INVALID", "digests are sha256 or sha512 here");
  const mounted = parameters.get("mount");
  const whole = parameters.get("digest");
  const repository = await openRepository(store, name);
  if (mounted !== null && (await tryMount(push, repository, parseOciDigest(mounted)))) return sendCreated(push, parseOciDigest(mounted));
  const expected = whole === null || mounted !== null ? undefined : parseOciDigest(whole);
  const id = await beginUpload(store, repository);
  if (expected === undefined) return sendProgress(push, { id, offset: 0, status: 202 });
  try {
    await extend(push, { id, offset: 0 });
    await finishUpload(store, repository, { id, digest: expected });
  } catch (error) {
    await store.blobs.sessions.cancel(id); // nobody has its address
    throw error;
  }
  return sendCreated(push, expected);
}

async function tryMount(push: Push, into: OciRepository, digest: OciDigest): Promise<boolean> {
  const { call } = push;
  const from = parametersOf(push).get("from");
  // No scope of the source is asked for: who may push here may read every repository, and may leave `from` out.
  const source = from === null ? undefined : await findRepository(call.context.store, from);
  if (from !== null && source === undefined) return false;
  return mountBlob(call.context.store, into, { digest, from: source });
}

/** end-5. */
export async function continueUpload(push: Push, id: string): Promise<void> {
  const { store } = push.call.context;
  const repository = await requireRepository(store, push.name);
  const offset = await uploadOffset(store, repository, id);
  sendProgress(push, { id, offset: await extend(push, { id, offset }), status: 202 });
}

/** end-6. */
export async function closeUpload(push: Push, id: string): Promise<void> {
  const { store } = push.call.context;
  const text = parametersOf(push).get("digest");
  if (text === null) throw ociRefusal("DIGEST_INVALID", "the digest of the whole blob must be a parameter");
  const digest = parseOciDigest(text);
  const repository = await requireRepository(store, push.name);
  const offset = await uploadOffset(store, repository, id);
  await extend(push, { id, offset });
  await finishUpload(store, repository, { id, digest });
  sendCreated(push, digest);
}

/** end-13. */
export async function showUpload(push: Push, id: string): Promise<void> {
  const { store } = push.call.context;
  const repository = await requireRepository(store, push.name);
  sendProgress(push, { id, offset: await uploadOffset(store, repository, id), status: 204 });
}

/** end-14. */
export async function endUpload(push: Push, id: string): Promise<void> {
  const { store } = push.call.context;
  await cancelUpload(store, await requireRepository(store, push.name), id);
  void push.call.reply.code(204).send();
}

/** Appends the request's body, if it has one; a chunk that begins elsewhere is 416 with the place where the upload stands. */
async function extend(push: Push, upload: { readonly id: string; readonly offset: number }): Promise<number> {
  const { context, request } = push.call;
  const { id, offset } = upload;
  checkChunk(push, upload);
  const body = request.body as Readable | undefined;
  if (body === undefined) return offset;
  const done = context.metrics.uploadStarted();
  try {
    return await context.store.blobs.sessions.extend({ id, offset, body: received(body, context) });
  } catch (error) {
    if (request.raw.destroyed && !request.raw.complete) throw new SlipwayError("upload_offset", "the upload broke off", { cause: error });
    throw error;
  } finally {
    done();
  }
}

/** `Content-Range: <first>-<last>`, both inclusive, without a unit; a body without it goes where the upload stands. */
function checkChunk(push: Push, { id, offset }: { readonly id: string; readonly offset: number }): void {
  const { "content-range": range, "content-length": length } = push.call.request.headers;
  if (range === undefined) return;
  const match = /^(\d{1,15})-(\d{1,15})$/.exec(range);
  if (match === null) throw ociRefusal("BLOB_UPLOAD_INVALID", "Content-Range must be <first>-<last>");
  const [first, last] = [Number(match[1]), Number(match[2])];
  if (first !== offset) {
    setProgress(push, { id, offset });
    throw new SlipwayError("upload_offset", `the upload stands at ${offset}, the chunk begins at ${first}`);
  }
  if (length !== undefined && Number(length) !== last - first + 1) throw ociRefusal("SIZE_INVALID", `${range} is not ${length} bytes`);
}

function setProgress(push: Push, { id, offset }: { readonly id: string; readonly offset: number }): void {
  push.call.reply
    .header("location", `/v2/${push.name}/blobs/uploads/${id}`)
    .header("range", `0-${Math.max(0, offset - 1)}`)
    .header("docker-upload-uuid", id);
}

function sendProgress(push: Push, upload: { readonly id: string; readonly offset: number; readonly status: number }): void {
  setProgress(push, upload);
  void push.call.reply.code(upload.status).send();
}

function sendCreated(push: Push, digest: OciDigest): void {
  void push.call.reply.code(201).header("location", blobLocation(push.name, digest)).header("docker-content-digest", digest).send();
}

/** end-7. */
export async function pushManifest(push: Push, text: string): Promise<void> {
  const { call, caller, name } = push;
  const { request, reply, context } = call;
  const reference = readReference(text);
  const further = parametersOf(push).getAll("tag");
  if (further.length > tagLimit) {
    void reply.code(414).send();
    return;
  }
  const tags = reference.kind === "tag" ? [reference.tag] : [...new Set(further.map(readTag))];
  const bytes = await readStreamBounded((request.body as Readable | undefined) ?? Readable.from([]), ociDocumentLimit, "the manifest");
  const mediaType = request.headers["content-type"]?.split(";")[0]?.trim();
  const repository = await openRepository(context.store, name);
  const { digest, subject } = await putManifest(context.store, repository, {
    bytes,
    mediaType,
    digest: reference.kind === "digest" ? reference.digest : undefined,
    tags,
    actor: actorOf(caller.principal),
  });
  reply.code(201).header("location", `/v2/${name}/manifests/${digest}`).header("docker-content-digest", digest);
  if (subject !== undefined) reply.header("oci-subject", subject);
  if (reference.kind === "digest" && tags.length > 0) reply.header("oci-tag", tags.join(", "));
  void reply.send();
}

/** end-9: a tag alone, or a manifest with every tag that names it. */
export async function removeReference(push: Push, text: string): Promise<void> {
  const { call, caller, name } = push;
  const { store } = call.context;
  const reference = readReference(text);
  const repository = await requireRepository(store, name);
  const actor = actorOf(caller.principal);
  if (reference.kind === "tag") await deleteTag(store, repository, { tag: reference.tag, actor });
  else await deleteManifest(store, repository, { digest: reference.digest, actor });
  void call.reply.code(202).send();
}

/** end-10. */
export async function removeBlob(push: Push, text: string): Promise<void> {
  const { store } = push.call.context;
  await deleteBlob(store, await requireRepository(store, push.name), parseOciDigest(text));
  void push.call.reply.code(202).send();
}

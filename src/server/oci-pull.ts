/** What is read from the registry: manifests, blobs, tags and referrers (OCI distribution-spec 1.1, end-2, end-3, end-8, end-12). */
import { grantHolderOf } from "../access/principal.ts";
import { ociMediaTypes } from "../formats/oci-descriptor.ts";
import { isOciDigest, type OciDigest, parseOciDigest } from "../formats/oci-digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Version } from "../model/version.ts";
import { blobUnknown, findBlob } from "../releases/oci-blobs.ts";
import { manifestUnknown } from "../releases/oci-manifests.ts";
import { listReferrers, type ReferrersPage } from "../releases/oci-referrers.ts";
import { productOfRepository } from "../releases/oci-repositories.ts";
import { versionTags } from "../releases/oci-tags.ts";
import type { RepositoryView } from "../releases/oci-view.ts";
import type { AuditResult } from "../store/audit-events.ts";
import { downloadEvent, type Outcome } from "./download-event.ts";
import { type OciReference, readReference } from "./oci-address.ts";
import { absentRepository, type OciCall, type OciCaller } from "./oci-caller.ts";
import { ociRefusal } from "./oci-errors.ts";
import { goneText } from "./refusal-text.ts";
import { type Body, type Delivery, sendBody } from "./send.ts";

type Pull = { readonly call: OciCall; readonly caller: OciCaller; readonly view: RepositoryView };

/** Tags of one answer; clients follow the Link. */
const tagLimit = 1_000;
/** Largest Warning of the specification is 4096 bytes; ours is a sentence. */
const warningLimit = 500;

/** The repository as this caller sees it; one without anything published looks absent to a pair. */
async function findView(call: OciCall, caller: OciCaller, name: string): Promise<Pull | undefined> {
  const isCustomer = caller.principal.kind === "customer";
  const holder = grantHolderOf(caller.principal, productOfRepository(name));
  const view = await call.context.images.view(name, isCustomer ? "cached" : "exact", holder);
  return view === undefined || (isCustomer && view.manifests.size === 0) ? undefined : { call, caller, view };
}

/** Throws NAME_UNKNOWN. */
export async function requireView(call: OciCall, caller: OciCaller, name: string): Promise<Pull> {
  const pull = await findView(call, caller, name);
  if (pull === undefined) throw absentRepository(name);
  return pull;
}

const noReferrers: ReferrersPage = { referrers: [], next: undefined };

const isVendor = (pull: Pull): boolean => pull.caller.principal.kind === "admin";

/** end-3. */
export async function pullManifest(pull: Pull, text: string): Promise<void> {
  const reference = readReference(text);
  const pulled = findPulled(pull.view, isVendor(pull) ? "vendor" : "customer", reference);
  if (pulled === undefined) throw await absentManifest(pull, reference, text);
  const { context, request } = pull.call;
  const { name, product } = pull.view.repository;
  context.routedPaths.learn(request.url, { kind: "manifest", route: request.routeOptions.url ?? "", product, name, reference });
  await sendPulled(pull, pulled);
}

/** What customers pulled of a view: a view never changes. Holds no more than the view has tags and manifests. */
const pulledOf = new WeakMap<RepositoryView, Map<string, Pulled>>();

/** What this reader gets for a reference; undefined where it names nothing that he sees. */
export function findPulled(view: RepositoryView, reader: "vendor" | "customer", reference: OciReference): Pulled | undefined {
  if (reader === "vendor") return makePulled(view, reader, reference);
  const name = reference.kind === "tag" ? reference.tag : reference.digest;
  const pulls = pulledOf.get(view) ?? new Map<string, Pulled>();
  pulledOf.set(view, pulls);
  const pulled = pulls.get(name) ?? makePulled(view, reader, reference);
  if (pulled !== undefined) pulls.set(name, pulled);
  return pulled;
}

function makePulled(view: RepositoryView, reader: "vendor" | "customer", reference: OciReference): Pulled | undefined {
  const digest = digestFor(view, reader, reference);
  const manifest = digest === undefined ? undefined : view.stored.get(digest);
  if (digest === undefined || manifest === undefined) return undefined;
  const version = versionOf(view, reference, digest);
  const warning = version === undefined ? undefined : retirementWarning(view, version);
  return {
    artifact: reference.kind === "tag" ? `${view.repository.name}:${reference.tag}` : `${view.repository.name}@${digest}`,
    version,
    body: {
      digest: manifest.blob,
      size: manifest.size,
      modifiedAt: reference.kind === "tag" ? view.loadedAt : manifest.createdAt,
      mediaType: manifest.mediaType,
      isImmutable: reference.kind === "digest",
      headers: { "Docker-Content-Digest": digest, ...(warning === undefined ? {} : { Warning: warning }) },
    },
  };
}

function digestFor(view: RepositoryView, reader: "vendor" | "customer", reference: OciReference): OciDigest | undefined {
  if (reference.kind === "digest") return reader === "vendor" || view.manifests.has(reference.digest) ? reference.digest : undefined;
  return (reader === "vendor" ? view.tags.all : view.tags.published).get(reference.tag);
}

/** A tag that left with its release names what to take instead, and is worth an audit event. */
async function absentManifest(pull: Pull, reference: OciReference, text: string): Promise<SlipwayError> {
  const { call, view } = pull;
  const ended =
    reference.kind === "tag" && digestFor(view, isVendor(pull) ? "vendor" : "customer", reference) === undefined ? view.endedRelease(reference.tag) : undefined;
  if (ended === undefined) return manifestUnknown(text);
  if (call.request.method === "GET")
    await recordPull(pull, { version: ended.version, artifact: undefined }, { result: "gone", status: 404, bytes: 0, detail: ended.state });
  return ociRefusal("MANIFEST_UNKNOWN", goneText(view.repository.product, ended));
}

function versionOf(view: RepositoryView, reference: OciReference, digest: OciDigest): Version | undefined {
  const named = reference.kind === "tag" ? view.tags.roots.find((root) => versionTags(root.version).includes(reference.tag)) : undefined;
  return named?.version ?? view.manifests.get(digest);
}

/** The registry's way to say that a version is about to leave (distribution-spec 1.1, "Warnings"). */
function retirementWarning(view: RepositoryView, version: Version): string | undefined {
  const retiring = view.retiring.find((release) => release.version === version);
  if (retiring === undefined) return undefined;
  const instead = retiring.replacement === undefined ? "" : `; use ${retiring.replacement} instead`;
  return `299 - "${view.repository.product} ${version} is ${retiring.why} and will be removed soon${instead}"`.slice(0, warningLimit);
}

/** end-2. */
export async function pullBlob(pull: Pull, text: string): Promise<void> {
  const { call, view } = pull;
  const digest = parseOciDigest(text);
  const blob = isVendor(pull) || view.blobs.has(digest) ? await findBlob(call.context.store, view.repository, digest) : undefined;
  if (blob === undefined) throw blobUnknown(digest);
  await sendPulled(pull, {
    artifact: `${view.repository.name}@${digest}`,
    version: view.blobs.get(digest),
    body: {
      digest: blob.blob,
      size: blob.size,
      modifiedAt: blob.createdAt,
      mediaType: "application/octet-stream",
      isImmutable: true,
      headers: { "Docker-Content-Digest": digest },
    },
  });
}

export type Pulled = { readonly artifact: string; readonly version: Version | undefined; readonly body: Body };

async function sendPulled(pull: Pull, pulled: Pulled): Promise<void> {
  const { context, reply } = pull.call;
  const record = (delivery: Delivery, result: AuditResult): Promise<void> =>
    recordPull(pull, pulled, { result, status: delivery.status, bytes: delivery.bytes, detail: delivery.range });
  await sendBody({
    context,
    reply,
    body: pulled.body,
    reader: { principal: pull.caller.principal, product: pull.view.repository.product },
    beforeLast: (delivery) => record(delivery, "complete"),
    onAborted: (delivery) => record(delivery, "aborted"),
  });
}

function recordPull(
  { call, caller, view }: Pull,
  pulled: { readonly version: Version | undefined; readonly artifact: string | undefined },
  outcome: Outcome,
): Promise<void> {
  const { url, ip, headers } = call.request;
  const asker = { principal: caller.principal, url, address: ip, client: headers["user-agent"] };
  const asked = { product: view.repository.product, version: pulled.version, artifact: pulled.artifact };
  return call.context.audit.record(downloadEvent(asker, asked, { ...outcome, protocol: "oci" }));
}

/** end-8: sorted as bytes, in pages where `n` says so. */
export function listTags(pull: Pull): unknown {
  const { call, view } = pull;
  const parameters = new URL(call.request.url, "http://registry").searchParams;
  const asked = parameters.get("n");
  if (asked !== null && !/^\d{1,9}$/.test(asked)) throw new SlipwayError("usage", "n is the count of tags to list");
  const count = Math.min(asked === null ? tagLimit : Number(asked), tagLimit);
  const last = parameters.get("last");
  const all = [...(isVendor(pull) ? view.tags.all : view.tags.published).keys()].sort();
  const rest = last === null ? all : all.filter((tag) => tag > last);
  const tags = rest.slice(0, count);
  const end = tags.at(-1);
  if (end !== undefined && rest.length > tags.length) {
    call.reply.header("link", `</v2/${view.repository.name}/tags/list?n=${count}&last=${encodeURIComponent(end)}>; rel="next"`);
  }
  return { name: view.repository.name, tags };
}

/** end-12. Never 404, which would tell a client that there is no such endpoint here: what is not there has no referrers. */
export async function showReferrers(call: OciCall, caller: OciCaller, wanted: { readonly name: string; readonly subject: string }): Promise<void> {
  const subject = parseOciDigest(wanted.subject);
  const pull = await findView(call, caller, wanted.name);
  const parameters = new URL(call.request.url, "http://registry").searchParams;
  const artifactType = parameters.get("artifactType") ?? undefined;
  const after = parameters.get("last");
  const request = { subject, artifactType, after: isOciDigest(after) ? after : undefined };
  const isVisible = (digest: OciDigest): boolean => pull !== undefined && (isVendor(pull) || pull.view.manifests.has(digest));
  const page = pull === undefined ? noReferrers : await listReferrers(call.context.store, pull.view.repository, { ...request, isVisible });
  if (artifactType !== undefined) call.reply.header("oci-filters-applied", "artifactType");
  if (page.next !== undefined) {
    const filter = artifactType === undefined ? "" : `&artifactType=${encodeURIComponent(artifactType)}`;
    call.reply.header("link", `</v2/${wanted.name}/referrers/${subject}?last=${page.next}${filter}>; rel="next"`);
  }
  const index = { schemaVersion: 2, mediaType: ociMediaTypes.index, manifests: page.referrers };
  await call.reply
    .type(ociMediaTypes.index)
    .header("cache-control", "no-store")
    .send(Buffer.from(JSON.stringify(index)));
}

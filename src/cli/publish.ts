/**
 * `slipway publish`: uploads a built release into a draft. Every step may be repeated: bytes go by digest and go on where they stopped,
 * the draft and its artifacts are named; a killed publish is run again.
 */
import { type FileHandle, open } from "node:fs/promises";
import type { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import type { Recipe } from "../packaging/recipe.ts";
import { type ReleaseKeyKind, releaseKeyKinds } from "../trust/keyring.ts";
import { attachedSchema, productSchema, releaseKeysSchema, releaseSchema, uploadSchema, type WireRelease } from "../server/wire.ts";
import { type ApiClient, openApi, withRetries } from "./api-client.ts";
import { type BuiltRelease, findBuiltFolder, type LocalFile, readBuiltRelease, readRecipeIfPresent } from "./built-release.ts";
import { type CommandRun, type Invocation, listOption, textOption } from "./command.ts";
import { discardRelease } from "./discard-release.ts";
import { formatBytes, type Progress } from "./output.ts";
import { type PublicKeys, readPublicKeyFiles, readRecipeKeys } from "./public-keys.ts";

/** Bytes of one request: what a broken connection costs at most, and what a proxy must be willing to take. */
const partSize = 8 * 1024 * 1024;

export const run: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const recipe = await readRecipeIfPresent(invocation);
  const folder = await findBuiltFolder(invocation);
  const built = await readBuiltRelease(folder, textOption(options, "sums") ?? recipe?.checksums ?? "SHA256SUMS");
  const { product, version, channel } = built.manifest;
  for (const name of built.ignored) output.note(`not uploaded: ${name} (neither listed in ${built.sumsName} nor a signature over it)`);
  const api = await openApi(invocation, recipe?.publish.server);
  await api.call({ method: "POST", path: ["products"], body: { name: product }, schema: productSchema });
  const registered = await registerKeys(api, invocation, { product, recipe: recipe?.name === product ? recipe : undefined });
  const release = await openDraft(api, invocation, built);
  const sent = await sendFiles(api, invocation, { built, release });
  const drafted = await api.call({ method: "GET", path: ["products", product, "releases", version], schema: releaseSchema });
  output.result({
    product,
    version,
    channel,
    state: drafted.state,
    artifacts: built.files.length,
    bytes: built.files.reduce((sum, file) => sum + file.size, 0),
    sentBytes: sent,
    sums: built.sumsDigest,
    registeredKeys: registered,
  });
  output.line(`${product} ${version} (${channel}): ${drafted.state}, ${built.files.length} files, ${formatBytes(sent)} sent to ${api.server}`);
  if (drafted.state === "draft") output.line(`customers do not see it yet; publish it with: slipway release publish v${version} --product ${product}`);
  return 0;
};

/**
 * The draft to fill. One that holds files of an earlier build under names that this build has not (they cannot be published with it) is
 * discarded and begun again; bytes that the server has are not sent twice.
 */
async function openDraft(api: ApiClient, invocation: Invocation, built: BuiltRelease): Promise<WireRelease> {
  const { product, version, channel } = built.manifest;
  const makeDraft = (): Promise<WireRelease> =>
    api.call({ method: "POST", path: ["products", product, "releases"], body: { version, channel }, schema: releaseSchema });
  const release = await makeDraft();
  const stale = release.artifacts.map(({ name }) => name).filter((name) => !built.files.some((file) => file.name === name));
  if (release.state !== "draft" || stale.length === 0) return release;
  invocation.output.note(`the draft of ${product} ${version} held files that this build has not: ${stale.join(", ")}; it is discarded and staged again`);
  await discardRelease(api, product, version);
  return makeDraft();
}

/** Registers kinds of key that the product has none of; keys given with --release-key replace what is there. Returns the kinds that were set. */
async function registerKeys(
  api: ApiClient,
  invocation: Invocation,
  at: { readonly product: string; readonly recipe: Recipe | undefined },
): Promise<readonly ReleaseKeyKind[]> {
  const path = ["products", at.product, "release-keys"];
  const files = listOption(invocation.options, "releaseKey");
  const present = await api.call({ method: "GET", path, schema: releaseKeysSchema });
  const missing = releaseKeyKinds.filter((kind) => present[kind] === undefined);
  const fromRecipe = async (): Promise<PublicKeys> => (at.recipe === undefined ? {} : readRecipeKeys(invocation, at.recipe, missing));
  const keys = files === undefined ? await fromRecipe() : await readPublicKeyFiles(files, invocation.cwd);
  const kinds = releaseKeyKinds.filter((kind) => keys[kind] !== undefined);
  if (kinds.length === 0) return [];
  await api.call({ method: "PUT", path, body: keys, schema: releaseKeysSchema });
  invocation.output.note(`registered release keys of ${at.product}: ${kinds.join(", ")}`);
  return kinds;
}

/** Uploads what the server lacks and attaches what the release lacks; returns the bytes sent. */
async function sendFiles(api: ApiClient, invocation: Invocation, at: { readonly built: BuiltRelease; readonly release: WireRelease }): Promise<number> {
  const { output, signal } = invocation;
  const { built, release } = at;
  const total = built.files.reduce((sum, file) => sum + file.size, 0);
  const progress = output.progress(`uploading ${release.product} ${release.version}`, total);
  const tally = { sent: 0, done: 0 };
  for (const file of built.files) {
    signal.throwIfAborted();
    const isAttached = release.artifacts.some((artifact) => artifact.name === file.name && artifact.digest === file.digest);
    if (!isAttached) {
      tally.sent += await sendFile(api, signal, { file, progress, before: tally.done });
      const path = ["products", release.product, "releases", release.version, "artifacts", file.name];
      await api.call({ method: "PUT", path, body: { digest: file.digest, size: file.size }, schema: attachedSchema });
    }
    tally.done += file.size;
    progress.update(tally.done, file.name);
    output.event({ event: "file", name: file.name, digest: file.digest, size: file.size });
  }
  progress.end();
  return tally.sent;
}

type Sending = { readonly file: LocalFile; readonly progress: Progress /** Bytes of the files before this one. */; readonly before: number };

/** One blob: asks where it stands, sends parts from there, asks again after a part that failed. Returns the bytes sent. */
async function sendFile(api: ApiClient, signal: AbortSignal, sending: Sending): Promise<number> {
  const handle = await open(sending.file.path, "r");
  const tally = { sent: 0 };
  try {
    await withRetries({ signal, isRepeatable: true }, () => sendFrom(api, handle, sending, tally));
  } finally {
    await handle.close();
  }
  return tally.sent;
}

async function sendFrom(api: ApiClient, handle: FileHandle, sending: Sending, tally: { sent: number }): Promise<void> {
  const { file } = sending;
  let status: z.output<typeof uploadSchema> = await api.call({ method: "GET", path: ["uploads", file.digest], schema: uploadSchema });
  while (status.state !== "live") {
    const { offset } = status;
    const content = await readPart(handle, file, offset);
    status = await api.sendPart({ digest: file.digest, offset, size: file.size, content }, uploadSchema);
    if (status.state === "partial" && status.offset <= offset)
      throw new SlipwayError("server_error", `the upload of ${file.name} does not advance past byte ${offset}`);
    tally.sent += content.length;
    sending.progress.update(sending.before + Math.min(file.size, offset + content.length), file.name);
  }
}

async function readPart(handle: FileHandle, file: LocalFile, offset: number): Promise<Uint8Array> {
  const content = Buffer.alloc(Math.max(0, Math.min(partSize, file.size - offset)));
  let filled = 0;
  while (filled < content.length) {
    const { bytesRead } = await handle.read(content, filled, content.length - filled, offset + filled);
    if (bytesRead === 0) throw new SlipwayError("source_unusable", `${file.name} became shorter while it was sent`, { place: file.path });
    filled += bytesRead;
  }
  return content;
}

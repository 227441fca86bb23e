/** Files of a mirror's tree as answers: ranges, conditions, and refusals with their status. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { safeJoin } from "../io/safe-path.ts";
import { createBufferBudget } from "./buffer-budget.ts";
import { answerFor } from "./conditional.ts";
import { sendFile } from "./send-file.ts";

export type MirrorRequest = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Decoded, without a leading slash. */
  readonly path: string;
  /** The folder of the set that this reader sees. */
  readonly tree: string;
  readonly query: URLSearchParams;
};

const downloadMemory = 64 * 1024 * 1024;
const budget = createBufferBudget(downloadMemory);

export type TreeFile = {
  /** In the tree. */
  readonly path: string;
  readonly mediaType: string;
  readonly isImmutable: boolean;
  readonly headers?: Readonly<Record<string, string>>;
};

/** Sends a file of the tree with ranges and conditions. Throws a 404 for what is no regular file. */
export async function sendTreeFile({ request, response, tree }: MirrorRequest, file: TreeFile): Promise<void> {
  const path = safeJoin(tree, file.path);
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((error: unknown) => {
    if (["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG"].includes((error as NodeJS.ErrnoException).code ?? "")) throw status(404, "there is no such file");
    throw error;
  });
  const found = await handle.stat();
  await handle.close();
  if (!found.isFile()) throw status(404, "there is no such file");
  // A blob of the mirror is one inode for one content; a name that moved to it is as new as the link (ctime), whatever the age of its bytes.
  const entityTag = `"${found.ino.toString(36)}-${found.size.toString(36)}-${Math.floor(found.mtimeMs).toString(36)}"`;
  const lastModified = file.isImmutable ? found.mtime : found.ctime;
  const outcome = answerFor(request.method ?? "GET", request.headers, { entityTag, lastModified, size: found.size });
  response.setHeader("ETag", entityTag);
  response.setHeader("Last-Modified", lastModified.toUTCString());
  response.setHeader("Accept-Ranges", "bytes");
  response.setHeader("Cache-Control", file.isImmutable ? "private, max-age=31536000, immutable" : "private, no-cache");
  for (const [name, value] of Object.entries(file.headers ?? {})) response.setHeader(name, value);
  if (outcome.kind === "not-modified") {
    response.writeHead(304).end();
    return;
  }
  if (outcome.kind === "precondition-failed") throw status(412, "the file is another one");
  if (outcome.kind === "range-not-satisfiable") {
    response.setHeader("Content-Range", `bytes */${found.size}`);
    throw status(416, `the file has ${found.size} bytes`);
  }
  const [first, last] = outcome.kind === "part" ? [outcome.first, outcome.last] : [0, found.size - 1];
  response.setHeader("Content-Type", file.mediaType);
  response.setHeader("Content-Length", last - first + 1);
  if (outcome.kind === "part") response.setHeader("Content-Range", `bytes ${first}-${last}/${found.size}`);
  response.writeHead(outcome.kind === "part" ? 206 : 200);
  if (request.method === "HEAD" || found.size === 0) response.end();
  else await sendFile({ path, first, last, response, budget, beforeLast: async () => undefined, mayGoOn: () => Promise.resolve(true) });
}

/** A refusal with its status; the registry's code where the address is one of images. */
export function status(code: number, message: string, ociCode?: string): MirrorRefusal {
  return new MirrorRefusal(code, message, ociCode);
}

export class MirrorRefusal extends Error {
  readonly status: number;
  readonly ociCode: string | undefined;

  constructor(code: number, message: string, ociCode: string | undefined) {
    super(message);
    this.status = code;
    this.ociCode = ociCode;
  }
}

/** `slipway audit export`: the trail as JSON lines or CSV (RFC 4180), oldest first, page by page: memory does not grow with it. */
import { createWriteStream } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { once } from "node:events";
import type { Writable } from "node:stream";
import { syncDirectory } from "../io/atomic-file.ts";
import { SlipwayError } from "../model/errors.ts";
import { auditPageSchema, type WireAuditEvent } from "../server/wire.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, type Invocation, textOption } from "./command.ts";

const pageSize = "1000";

export const run: CommandRun = async (invocation) => {
  const { options, output, cwd } = invocation;
  const format = formats[textOption(options, "format") === "csv" ? "csv" : "jsonl"];
  const target = textOption(options, "output");
  const pages = eventPages(invocation);
  if (target === undefined) {
    await write(process.stdout, format, pages, invocation.signal);
    return 0;
  }
  const path = resolve(cwd, target);
  const count = await writeNewFile(path, (stream) => write(stream, format, pages, invocation.signal));
  output.result({ events: count, file: path });
  output.line(`${count} events in ${target}`);
  return 0;
};

async function* eventPages(invocation: Invocation): AsyncGenerator<readonly WireAuditEvent[]> {
  const { options } = invocation;
  const api = await openApi(invocation);
  const query = {
    product: textOption(options, "product"),
    customer: textOption(options, "customer"),
    action: textOption(options, "action"),
    since: instantOption(invocation, "since"),
    until: instantOption(invocation, "until"),
    order: "oldest",
    limit: pageSize,
  };
  let after: string | undefined;
  do {
    const page = await api.call({ method: "GET", path: ["audit"], query: { ...query, after }, schema: auditPageSchema });
    yield page.events;
    after = page.next ?? undefined;
  } while (after !== undefined);
}

function instantOption({ options }: Invocation, name: "since" | "until"): string | undefined {
  const text = textOption(options, name);
  if (text === undefined) return undefined;
  const ms = /^\d{4}-\d{2}-\d{2}(T|$)/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) throw new SlipwayError("usage", `--${name} ${text}: expected a date as 2026-11-01 or 2026-11-01T12:00:00Z`);
  return new Date(ms).toISOString();
}

type Format = { readonly head: string; readonly line: (event: WireAuditEvent) => string };

const csvColumns: readonly (readonly [name: string, value: (event: WireAuditEvent) => string | number | null | undefined])[] = [
  ["id", (event) => event.id],
  ["at", (event) => event.at],
  ["actor_kind", (event) => event.actor.kind],
  ["actor_id", (event) => event.actor.id],
  ["actor_name", (event) => event.actor.name],
  ["action", (event) => event.action],
  ["result", (event) => event.result],
  ["status", (event) => event.status],
  ["bytes", (event) => event.bytes],
  ["customer", (event) => event.customer],
  ["key_id", (event) => event.keyId],
  ["product", (event) => event.product],
  ["version", (event) => event.version],
  ["artifact", (event) => event.artifact],
  ["path", (event) => event.path],
  ["protocol", (event) => event.protocol],
  ["address", (event) => event.address],
  ["client", (event) => event.client],
  ["detail", (event) => event.detail],
  ["link", (event) => event.link?.seq],
  ["hash", (event) => event.link?.hash],
];

const formats: Readonly<Record<"jsonl" | "csv", Format>> = {
  jsonl: { head: "", line: (event) => `${JSON.stringify(event)}\n` },
  csv: {
    head: `${csvColumns.map(([name]) => name).join(",")}\r\n`,
    line: (event) => `${csvColumns.map(([, value]) => csvCell(value(event))).join(",")}\r\n`,
  },
};

/** A text that a spreadsheet would take for a formula gets an apostrophe before it: clients choose their user agent and paths. */
function csvCell(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

async function write(stream: Writable, format: Format, pages: AsyncIterable<readonly WireAuditEvent[]>, signal: AbortSignal): Promise<number> {
  let count = 0;
  let text = format.head;
  for await (const page of pages) {
    text += page.map((event) => format.line(event)).join("");
    count += page.length;
    if (text !== "" && !stream.write(text)) await once(stream, "drain", { signal });
    text = "";
    if (signal.aborted) throw new SlipwayError("interrupted", "the export was interrupted");
  }
  return count;
}

/** Refuses to replace a file; what is half-written lies beside it under another name and is removed when it fails. */
async function writeNewFile(path: string, fill: (stream: Writable) => Promise<number>): Promise<number> {
  const claim = await open(path, "wx", 0o600).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new SlipwayError("usage", `${path} is there already`, { hint: "name another file, or move that one away" });
  });
  await claim.close();
  const part = `${path}.part`;
  try {
    const stream = createWriteStream(part, { mode: 0o600, flush: true });
    const finished = once(stream, "close");
    const count = await fill(stream);
    stream.end();
    await finished;
    await rename(part, path);
    await syncDirectory(dirname(path));
    return count;
  } catch (error) {
    await rm(part, { force: true });
    await rm(path, { force: true });
    throw error;
  }
}

/** `slipway audit`: the audit trail, oldest of the page first, as people read logs; `--follow` goes on printing. */
import { setTimeout as sleep } from "node:timers/promises";
import { SlipwayError } from "../model/errors.ts";
import { auditPageSchema, type WireAuditEvent } from "../server/wire.ts";
import { type ApiClient, openApi } from "./api-client.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { formatBytes, type Output } from "./output.ts";

const followEveryMs = 1_000;
const pageSize = 1_000;

export const run: CommandRun = async (invocation) => {
  const { options, output, signal } = invocation;
  const limit = readLimit(textOption(options, "limit") ?? "100");
  const api = await openApi(invocation);
  const events = await newest(api, invocation, limit);
  const isFollowing = flagOption(options, "follow");
  if (!isFollowing) {
    output.result({ events });
    printTable(output, events);
    return 0;
  }
  for (const event of events) printLine(output, event);
  let last = events.at(-1)?.id ?? "";
  while (!signal.aborted) {
    for (const event of await since(api, invocation, last)) {
      printLine(output, event);
      last = event.id;
    }
    await sleep(followEveryMs, undefined, { signal }).catch(() => undefined); // Ctrl-C ends the wait, then the loop
  }
  return 0;
};

function readLimit(text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit < 1) throw new SlipwayError("usage", `--limit ${text}: expected a number of events`);
  return limit;
}

async function page(api: ApiClient, invocation: Invocation, at: { readonly limit: number; readonly after?: string | undefined }) {
  const { options } = invocation;
  const query = {
    product: textOption(options, "product"),
    customer: textOption(options, "customer"),
    action: textOption(options, "action"),
    limit: String(at.limit),
    after: at.after,
  };
  return api.call({ method: "GET", path: ["audit"], query, schema: auditPageSchema });
}

/** The newest `limit` events, oldest first; the API gives pages newest first. */
async function newest(api: ApiClient, invocation: Invocation, limit: number): Promise<WireAuditEvent[]> {
  const events: WireAuditEvent[] = [];
  let after: string | undefined;
  do {
    const got = await page(api, invocation, { limit: Math.min(pageSize, limit - events.length), after });
    events.push(...got.events);
    after = got.next ?? undefined;
  } while (after !== undefined && events.length < limit);
  return events.toReversed();
}

/** What came after `last`, oldest first: pages backwards until it meets it. Ids grow with time. */
async function since(api: ApiClient, invocation: Invocation, last: string): Promise<WireAuditEvent[]> {
  const events: WireAuditEvent[] = [];
  let after: string | undefined;
  for (;;) {
    const got = await page(api, invocation, { limit: 100, after });
    const fresh = got.events.filter((event) => event.id > last);
    events.push(...fresh);
    after = got.next ?? undefined;
    if (fresh.length < got.events.length || after === undefined) return events.toReversed();
  }
}

const header = ["TIME", "WHO", "ACTION", "WHAT", "RESULT", "BYTES", "FROM"] as const;

function cells(event: WireAuditEvent): readonly string[] {
  return [
    event.at,
    // An administrator's act on a customer's key is the administrator's.
    event.actor.kind === "customer" ? (event.customer ?? event.actor.kind) : (event.actor.name ?? event.actor.kind),
    event.action,
    subjectOf(event),
    event.status === null ? event.result : `${event.result} ${event.status}`,
    event.bytes === null ? "" : formatBytes(event.bytes),
    event.address ?? "",
  ];
}

function subjectOf(event: WireAuditEvent): string {
  const file = event.artifact ?? (event.version === null ? event.path : null);
  const subject = event.actor.kind === "customer" ? [] : [event.customer, event.keyId];
  return [...subject, event.product, event.version, file].filter((word) => word !== null).join(" ");
}

function printTable(output: Output, events: readonly WireAuditEvent[]): void {
  if (events.length === 0) output.line("no events");
  else output.table(header, events.map(cells));
}

function printLine(output: Output, event: WireAuditEvent): void {
  output.event(event);
  output.line(
    cells(event)
      .filter((cell) => cell !== "")
      .join("  "),
  );
}

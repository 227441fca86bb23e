/** `slipway notice list|log|send`: what customers and the vendor are told, and how that went. */
import { z } from "zod";
import { deliverySchema, noticeSchema, plannedDeliverySchema } from "../server/advisory-wire.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, flagOption, textOption } from "./command.ts";

export const runList: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const api = await openApi(invocation);
  const query = { customer: textOption(options, "customer"), limit: textOption(options, "limit") };
  const { notices } = await api.call({ method: "GET", path: ["notices"], query, schema: z.object({ notices: z.array(noticeSchema) }) });
  output.result({ notices });
  if (notices.length === 0) output.line("no notices yet");
  else
    output.table(
      ["TIME", "TO", "KIND", "SUBJECT"],
      notices.map((notice) => [notice.createdAt, notice.customer ?? "(vendor)", notice.kind, notice.subject]),
    );
  return 0;
};

export const runLog: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const api = await openApi(invocation);
  const query = { target: textOption(options, "to"), limit: textOption(options, "limit") };
  const { deliveries } = await api.call({ method: "GET", path: ["deliveries"], query, schema: z.object({ deliveries: z.array(deliverySchema) }) });
  output.result({ deliveries });
  if (deliveries.length === 0) output.line("nothing was sent yet");
  else
    output.table(
      ["TIME", "BY", "TO", "STATE", "TRIES", "ABOUT", "LAST ERROR"],
      deliveries.map((one) => [
        one.createdAt,
        one.transport,
        one.target,
        one.state === "pending" ? `next ${one.nextAt ?? ""}` : one.state,
        String(one.attempts),
        one.notices.join("; "),
        one.lastError ?? "",
      ]),
    );
  return 0;
};

export const runSend: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const isDryRun = flagOption(options, "dryRun");
  const api = await openApi(invocation);
  const schema = z.object({ planned: z.array(plannedDeliverySchema), sent: z.int(), failed: z.int() });
  const done = await api.call({ method: "POST", path: ["notices", "send"], body: { dryRun: isDryRun }, schema });
  output.result(done);
  if (done.planned.length > 0)
    output.table(
      ["BY", "TO", "ABOUT", "NOTICES", "SUBJECT"],
      done.planned.map((one) => [one.transport, one.target, one.customer ?? "(vendor)", String(one.notices), one.subject]),
    );
  if (isDryRun) output.line(done.planned.length === 0 ? "nothing is due" : "nothing was sent: --dry-run");
  else output.line(`${done.sent} sent, ${done.failed} failed${done.failed === 0 ? "" : "; they are tried again, see: slipway notice log"}`);
  return 0;
};

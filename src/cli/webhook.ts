/** `slipway webhook add|list|test|remove`: the vendor's own endpoints that are told of notices. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { nearestWord } from "../model/names.ts";
import { webhookSchema } from "../server/advisory-wire.ts";
import { isNoticeKind, type NoticeKind, noticeKinds } from "../store/outbox.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, listOption, type OptionValues } from "./command.ts";

/** Kinds of notices; none for all. */
function eventsOf(options: OptionValues): readonly NoticeKind[] {
  const known = Object.keys(noticeKinds);
  return (listOption(options, "events") ?? []).map((word) => {
    if (isNoticeKind(word)) return word;
    const near = nearestWord(word, known);
    throw new SlipwayError("usage", `--events ${word} is no kind of notice${near === undefined ? "" : ` - did you mean "${near}"?`}`, {
      hint: `there are: ${known.join(", ")}; leave --events out for all`,
    });
  });
}

export const runAdd: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const events = eventsOf(options);
  const api = await openApi(invocation);
  const made = await api.call({
    method: "POST",
    path: ["webhooks"],
    body: { url: args[0] ?? "", events },
    schema: webhookSchema.extend({ secret: z.string() }),
    isRepeatable: false,
  });
  output.result(made);
  output.line(`webhook ${made.id}: ${made.url}, ${made.events.length === 0 ? "all events" : made.events.join(", ")}`);
  output.line(`  secret  ${made.secret}`);
  output.line("The secret is shown this once; the receiver checks the header webhook-signature with it (Standard Webhooks).");
  output.line(`Try it with: slipway webhook test ${made.id}`);
  return 0;
};

export const runList: CommandRun = async (invocation) => {
  const { output } = invocation;
  const api = await openApi(invocation);
  const { webhooks } = await api.call({ method: "GET", path: ["webhooks"], schema: z.object({ webhooks: z.array(webhookSchema) }) });
  output.result({ webhooks });
  if (webhooks.length === 0) output.line("no webhooks; add one with: slipway webhook add URL");
  else
    output.table(
      ["WEBHOOK", "EVENTS", "SINCE", "URL"],
      webhooks.map((one) => [one.id, one.events.length === 0 ? "all" : one.events.join(", "), one.createdAt, one.url]),
    );
  return 0;
};

export const runTest: CommandRun = async (invocation) => {
  const { args, output } = invocation;
  const api = await openApi(invocation);
  const schema = z.object({ id: z.string(), status: z.int() });
  const answer = await api.call({ method: "POST", path: ["webhooks", args[0] ?? "", "test"], schema, isRepeatable: false });
  output.result(answer);
  output.line(`${answer.id} answered ${answer.status}`);
  return 0;
};

export const runRemove: CommandRun = async (invocation) => {
  const { args, output } = invocation;
  const api = await openApi(invocation);
  const schema = z.object({ id: z.string(), state: z.literal("removed") });
  const removed = await api.call({ method: "DELETE", path: ["webhooks", args[0] ?? ""], schema });
  output.result(removed);
  output.line(`${removed.id} is removed`);
  return 0;
};

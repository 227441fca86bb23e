/** `slipway key suspicious|show|resume|exempt`: pairs that look passed on or stolen, and the vendor's word on them. */
import { z } from "zod";
import { suspicionSchema, type WireSuspicion } from "../server/abuse-wire.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, flagOption } from "./command.ts";
import type { Output } from "./output.ts";

export const runSuspicious: CommandRun = async (invocation) => {
  const { output } = invocation;
  const api = await openApi(invocation);
  const { keys } = await api.call({ method: "GET", path: ["suspicious-keys"], schema: z.object({ keys: z.array(suspicionSchema) }) });
  output.result({ keys });
  if (keys.length === 0) {
    output.line("no pair looks abused");
    return 0;
  }
  output.table(
    ["KEY", "SCORE", "STATE", "WHY"],
    keys.map((key) => [key.keyId, String(key.score), stateOf(key), key.reasons.map(({ text }) => text).join("; ")]),
  );
  return 0;
};

export const runShow: CommandRun = async (invocation) => {
  const api = await openApi(invocation);
  const key = await api.call({ method: "GET", path: ["keys", invocation.args[0] ?? "", "suspicion"], schema: suspicionSchema });
  printKey(invocation.output, key);
  return 0;
};

export const runResume: CommandRun = async (invocation) => {
  const api = await openApi(invocation);
  const key = await api.call({ method: "POST", path: ["keys", invocation.args[0] ?? "", "resume"], schema: suspicionSchema, isRepeatable: false });
  printKey(invocation.output, key);
  return 0;
};

export const runExempt: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const api = await openApi(invocation);
  const body = { exempt: !flagOption(options, "end") };
  printKey(output, await api.call({ method: "PUT", path: ["keys", args[0] ?? "", "exempt"], body, schema: suspicionSchema }));
  return 0;
};

function stateOf(key: WireSuspicion): string {
  if (key.suspendedAt !== null) return "suspended";
  if (key.isExempt) return "exempt";
  return key.level === "suspendable" ? "throttled" : key.level;
}

function printKey(output: Output, key: WireSuspicion): void {
  output.result(key);
  output.line(`${key.keyId}: score ${key.score}, ${stateOf(key)}${key.suspendedAt === null ? "" : ` since ${key.suspendedAt}`}`);
  for (const { points, text } of key.reasons) output.line(`  ${String(points).padStart(3)}  ${text}`);
}

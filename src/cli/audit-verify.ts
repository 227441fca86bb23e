/** `slipway audit verify`: is the chain over administrative events whole. */
import { SlipwayError } from "../model/errors.ts";
import { chainCheckSchema } from "../server/wire.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, textOption } from "./command.ts";

export const run: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const expect = textOption(options, "expect")?.toLowerCase();
  if (expect !== undefined && !/^[0-9a-f]{64}$/.test(expect)) throw new SlipwayError("usage", "--expect: expected the 64 hexadecimal digits of a hash");
  const api = await openApi(invocation);
  const check = await api.call({ method: "GET", path: ["audit", "chain"], query: { expect }, schema: chainCheckSchema });
  if (check.state === "broken") {
    throw new SlipwayError("audit_broken", `the audit trail is broken after ${check.links} links: ${check.fault ?? ""}`, { detail: check.head });
  }
  output.result(check);
  output.line(`whole: ${check.links} administrative events`);
  output.line(`newest hash: ${check.head}`);
  if (expect === undefined) output.line("note it elsewhere; `slipway audit verify --expect <hash>` proves later that nothing before it was touched");
  return 0;
};

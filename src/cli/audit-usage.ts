/** `slipway audit usage`: who runs what, by the pulls of the last days. */
import { SlipwayError } from "../model/errors.ts";
import { usageSchema } from "../server/wire.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, textOption } from "./command.ts";
import { formatBytes } from "./output.ts";

const header = ["CUSTOMER", "PRODUCT", "VERSION", "PROTOCOL", "PULLS", "BYTES", "ADDRESSES", "LAST"] as const;

export const run: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const days = textOption(options, "days");
  if (days !== undefined && !/^[1-9]\d{0,3}$/.test(days)) throw new SlipwayError("usage", `--days ${days}: expected a number of days`);
  const api = await openApi(invocation);
  const query = { product: textOption(options, "product"), customer: textOption(options, "customer"), days };
  const { usage } = await api.call({ method: "GET", path: ["audit", "usage"], query, schema: usageSchema });
  output.result({ usage });
  if (usage.length === 0) output.line(`nothing was pulled in the last ${days ?? 90} days`);
  else {
    const rows = usage.map((one) => [
      one.customer,
      one.product,
      one.version,
      one.protocol,
      String(one.pulls),
      formatBytes(one.bytes),
      String(one.addresses),
      one.lastAt.slice(0, 16).replace("T", " "),
    ]);
    output.table(header, rows);
  }
  return 0;
};

/** `slipway customer add|list`: who may read. */
import { z } from "zod";
import { customerSchema } from "../server/wire.ts";
import { openApi } from "./api-client.ts";
import type { CommandRun } from "./command.ts";

export const runAdd: CommandRun = async (invocation) => {
  const { args, output } = invocation;
  const api = await openApi(invocation);
  const customer = await api.call({ method: "POST", path: ["customers"], body: { name: args[0] }, schema: customerSchema });
  output.result(customer);
  output.line(`customer ${customer.name}; give out an access pair with: slipway key issue ${customer.name} --product PRODUCT`);
  return 0;
};

export const runList: CommandRun = async (invocation) => {
  const { output } = invocation;
  const api = await openApi(invocation);
  const { customers } = await api.call({ method: "GET", path: ["customers"], schema: z.object({ customers: z.array(customerSchema) }) });
  output.result({ customers });
  if (customers.length === 0) output.line("no customers yet; add one with: slipway customer add NAME");
  else
    output.table(
      ["CUSTOMER", "SINCE"],
      customers.map((customer) => [customer.name, customer.createdAt]),
    );
  return 0;
};

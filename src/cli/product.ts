/** `slipway product add|list`: products on the server and their public release keys. */
import { z } from "zod";
import { productSchema, releaseKeysSchema } from "../server/wire.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, listOption } from "./command.ts";
import { readPublicKeyFiles } from "./public-keys.ts";

export const runAdd: CommandRun = async (invocation) => {
  const { args, options, output, cwd } = invocation;
  const keys = await readPublicKeyFiles(listOption(options, "releaseKey") ?? [], cwd);
  const api = await openApi(invocation);
  const product = await api.call({ method: "POST", path: ["products"], body: { name: args[0] }, schema: productSchema });
  const kinds = Object.keys(keys);
  if (kinds.length > 0) await api.call({ method: "PUT", path: ["products", product.name, "release-keys"], body: keys, schema: releaseKeysSchema });
  output.result({ ...product, releaseKeys: kinds });
  output.line(`product ${product.name}${kinds.length === 0 ? "" : `, release keys: ${kinds.join(", ")}`}`);
  return 0;
};

export const runList: CommandRun = async (invocation) => {
  const { output } = invocation;
  const api = await openApi(invocation);
  const { products } = await api.call({ method: "GET", path: ["products"], schema: z.object({ products: z.array(productSchema) }) });
  output.result({ products });
  if (products.length === 0) output.line("no products yet; `slipway publish` makes the one of its recipe");
  else
    output.table(
      ["PRODUCT", "KEEPS", "SINCE"],
      products.map((product) => [product.name, String(product.keep), product.createdAt]),
    );
  return 0;
};

/** Where a release command works: the server, the product, and the recipe where it is of this product. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { parseVersion } from "../model/version.ts";
import type { Recipe } from "../packaging/recipe.ts";
import { productSchema } from "../server/wire.ts";
import { type ApiClient, openApi } from "./api-client.ts";
import { readRecipeIfPresent } from "./built-release.ts";
import { type Invocation, textOption } from "./command.ts";

export type Place = {
  readonly api: ApiClient;
  readonly product: string;
  /** The recipe in the working directory, where it is of this product. */
  readonly recipe: Recipe | undefined;
};

/** The server, and the product: --product, else the recipe's in the working directory, else the only one on the server. */
export async function openPlace(invocation: Invocation): Promise<Place> {
  const recipe = await readRecipeIfPresent(invocation);
  const api = await openApi(invocation, recipe?.publish.server);
  const product = textOption(invocation.options, "product") ?? recipe?.name ?? (await onlyProduct(api));
  return { api, product, recipe: recipe?.name === product ? recipe : undefined };
}

async function onlyProduct(api: ApiClient): Promise<string> {
  const { products } = await api.call({ method: "GET", path: ["products"], schema: z.object({ products: z.array(productSchema) }) });
  const [only, ...others] = products;
  if (only !== undefined && others.length === 0) return only.name;
  const names = products.map((product) => product.name).join(", ");
  throw new SlipwayError("usage", products.length === 0 ? "the server has no product yet" : `which product: ${names}`, { hint: "name it with --product" });
}

export function releasePath(product: string, version: string | undefined): readonly string[] {
  return ["products", product, "releases", parseVersion(version ?? "")];
}

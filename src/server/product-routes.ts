/** Products and the release keys that say whose releases a product takes. */
import { z } from "zod";
import { actorOf } from "../access/principal.ts";
import { createProduct, listProducts, type Product, readReleaseKeys, requireProduct, setReleaseKeys } from "../releases/products.ts";
import type { Store } from "../store/store.ts";
import { adminOf, type RouteRow, route } from "./route.ts";
import { productSchema, releaseKeysSchema } from "./wire.ts";

export const productParams = z.object({ product: z.string().max(64) });

function productJson(product: Product): z.output<typeof productSchema> {
  return { name: product.name, keep: product.keep, createdAt: product.createdAt.toISOString() };
}

async function registeredKeys(store: Store, product: string): Promise<z.output<typeof releaseKeysSchema>> {
  const keys = Object.entries(await readReleaseKeys(store, product)).filter(([, text]) => text !== undefined);
  return releaseKeysSchema.parse(Object.fromEntries(keys));
}

export const productRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/products",
    access: "admin",
    tag: "products",
    summary: "All products",
    success: { status: 200, json: z.object({ products: z.array(productSchema) }), text: "The products, by name" },
    run: async ({ context }) => ({ products: (await listProducts(context.store)).map(productJson) }),
  }),
  route({
    method: "POST",
    path: "/api/v1/products",
    access: "admin",
    tag: "products",
    summary: "Make a product; one that is there is returned as it stands",
    body: z.strictObject({ name: z.string().max(64) }),
    success: { status: 200, json: productSchema, text: "The product" },
    run: async (call) => productJson(await createProduct(call.context.store, { name: call.body.name, actor: actorOf(adminOf(call)) })),
  }),
  route({
    method: "GET",
    path: "/api/v1/products/:product",
    access: "admin",
    tag: "products",
    summary: "One product",
    params: productParams,
    success: { status: 200, json: productSchema, text: "The product" },
    run: async ({ context, params }) => productJson(await requireProduct(context.store, params.product)),
  }),
  route({
    method: "GET",
    path: "/api/v1/products/:product/release-keys",
    access: "admin",
    tag: "products",
    summary: "The public release keys of a product",
    params: productParams,
    success: { status: 200, json: releaseKeysSchema, text: "The keys that are registered" },
    run: async ({ context, params }) => registeredKeys(context.store, params.product),
  }),
  route({
    method: "PUT",
    path: "/api/v1/products/:product/release-keys",
    access: "admin",
    tag: "products",
    summary: "Register public release keys; from then on only releases signed by them are published",
    params: productParams,
    body: releaseKeysSchema,
    success: { status: 200, json: releaseKeysSchema, text: "The keys that are registered" },
    run: async (call) => {
      const { store } = call.context;
      await setReleaseKeys(store, { product: call.params.product, ...call.body, actor: actorOf(adminOf(call)) });
      return registeredKeys(store, call.params.product);
    },
  }),
];

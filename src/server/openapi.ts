/** The OpenAPI 3.1 document, made by @fastify/swagger from the table of routes. */
import fastifySwagger, { type SwaggerTransform } from "@fastify/swagger";
import type { FastifyInstance } from "fastify";
import { jsonSchemaTransform } from "fastify-type-provider-zod";
import type { z } from "zod";
import type { Access, RouteRow } from "./route.ts";
import { errorSchema } from "./wire.ts";

const security: Readonly<Record<Access, readonly Readonly<Record<string, readonly string[]>>[]>> = {
  open: [],
  customer: [{ accessPair: [] }, { adminToken: [] }],
  admin: [{ adminToken: [] }],
  operations: [{}, { adminToken: [] }],
};

/** What fastify is given as `schema` of a route: validation and document at once. */
export function routeSchema(row: RouteRow): Record<string, unknown> {
  const { success } = row;
  const success200: Record<string, z.ZodType> = success.json === undefined ? {} : { [success.status]: success.json };
  return {
    summary: row.summary,
    tags: [row.tag],
    security: security[row.access],
    ...(row.params === undefined ? {} : { params: row.params }),
    ...(row.query === undefined ? {} : { querystring: row.query }),
    ...(row.body === undefined ? {} : { body: row.body }),
    response: { ...success200, "4xx": errorSchema, "5xx": errorSchema },
  };
}

export async function registerOpenApi(app: FastifyInstance, options: { readonly version: string; readonly rows: readonly RouteRow[] }): Promise<void> {
  const byAddress = new Map(options.rows.map((row) => [`${row.method} ${row.path}`, row]));
  const transform: SwaggerTransform = (input) => {
    const made = jsonSchemaTransform(input);
    const methods = [input.route.method].flat();
    const row = methods.map((method) => byAddress.get(`${method} ${input.url}`)).find((found) => found !== undefined);
    return row === undefined ? made : { ...made, schema: { ...made.schema, ...describeBytes(row, made.schema) } };
  };
  await app.register(fastifySwagger, {
    openapi: {
      openapi: "3.1.0",
      info: { title: "Slipway", version: options.version, description: "Distribution of releases to customers, and the vendor's API over it." },
      components: {
        securitySchemes: {
          accessPair: { type: "http", scheme: "basic", description: "key id and secret of a customer's access pair" },
          adminToken: { type: "http", scheme: "bearer", description: "an admin token" },
        },
      },
    },
    exposeHeadRoutes: false,
    transform,
  });
}

/** Answers that are files rather than JSON, and uploads, which are bytes: zod says nothing about them. */
function describeBytes(row: RouteRow, schema: unknown): Record<string, unknown> {
  const response = (schema as { response?: Record<string, unknown> }).response ?? {};
  const described = Object.fromEntries(
    Object.entries(response).map(([status, value]) => [status, { description: statusText(row, status), ...asObject(value) }]),
  );
  const file = {
    description: row.success.text,
    content: { [row.success.media ?? "application/octet-stream"]: { schema: { type: "string", format: "binary" } } },
  };
  return {
    response: row.success.json === undefined ? { [row.success.status]: file, ...described } : described,
    ...(row.isRawBody === true ? { consumes: ["application/octet-stream"], body: { type: "string", format: "binary" } } : {}),
  };
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function statusText(row: RouteRow, status: string): string {
  if (status === String(row.success.status)) return row.success.text;
  return status === "4xx" ? "Refused: the error says why and what to do" : "The server failed or is not ready";
}

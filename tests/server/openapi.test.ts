/** The OpenAPI document: valid JSON Schema throughout, every route of the table in it and nothing else. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { routes } from "../../src/server/routes.ts";
import { get, issuePair, publish, type RunningServer, startServer } from "./running-server.ts";

type Operation = {
  readonly summary?: string;
  readonly tags?: readonly string[];
  readonly security?: readonly object[];
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required?: boolean; readonly schema: object }[];
  readonly requestBody?: { readonly content: Record<string, { readonly schema: object }> };
  readonly responses: Record<string, { readonly description?: string; readonly content?: Record<string, { readonly schema: object }> }>;
};
type Document = {
  readonly openapi: string;
  readonly info: { readonly title: string; readonly version: string };
  readonly paths: Record<string, Record<string, Operation>>;
};

let running: RunningServer;
let document: Document;
before(async () => {
  running = await startServer();
  document = (await (await get(running, "/api/v1/openapi.json")).json()) as Document;
});
after(() => running.stop());

/** find-my-way's `/a/:b/*` as OpenAPI writes it. */
function templated(path: string): string {
  return path.replaceAll(/:([A-Za-z]+)/g, "{$1}").replace("*", "{*}");
}

test("the document is OpenAPI 3.1 of this version", () => {
  assert.match(document.openapi, /^3\.1\./);
  assert.deepEqual([document.info.title, document.info.version], ["Slipway", "9.9.9"]);
});

test("every route of the table is in the document with its method, and the document has no other", () => {
  const described = Object.entries(document.paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`));
  assert.deepEqual(described.toSorted(), routes.map((row) => `${row.method} ${templated(row.path)}`).toSorted());
});

test("every operation has a summary, a tag, its security, its path parameters, and a description for each answer", () => {
  for (const row of routes) {
    const operation = document.paths[templated(row.path)]?.[row.method.toLowerCase()];
    assert.ok(operation, row.path);
    assert.equal(operation.summary, row.summary);
    assert.deepEqual(operation.tags, [row.tag]);
    assert.equal(operation.security?.length === 0, row.access === "open", row.path);
    const wanted = [...templated(row.path).matchAll(/\{([^}]+)\}/g)].map((match) => match[1] ?? "");
    const given = (operation.parameters ?? []).filter((parameter) => parameter.in === "path").map((parameter) => parameter.name);
    assert.deepEqual(given.toSorted(), wanted.toSorted(), row.path);
    assert.ok(operation.responses[String(row.success.status)], row.path);
    for (const [status, response] of Object.entries(operation.responses)) assert.ok(response.description, `${row.path} ${status}`);
    if (row.method !== "GET" && (row.body !== undefined || row.isRawBody === true)) assert.ok(operation.requestBody, row.path);
  }
});

test("every schema in the document compiles as JSON Schema 2020-12", () => {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  let compiled = 0;
  for (const operation of Object.values(document.paths).flatMap((methods) => Object.values(methods))) {
    const schemas = [
      ...(operation.parameters ?? []).map((parameter) => parameter.schema),
      ...Object.values(operation.requestBody?.content ?? {}).map((media) => media.schema),
      ...Object.values(operation.responses).flatMap((response) => Object.values(response.content ?? {}).map((media) => media.schema)),
    ];
    for (const schema of schemas) {
      ajv.compile(schema);
      compiled += 1;
    }
  }
  assert.ok(compiled > 60);
});

test("live answers validate against the document", async () => {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  await running.admin("POST", "/products", { name: "coequal" });
  await running.admin("POST", "/customers", { name: "acme" });
  const rows: readonly (readonly [string, string, unknown?])[] = [
    ["GET", "/products"],
    ["GET", "/customers"],
    ["GET", "/audit"],
    ["POST", "/customers/acme/keys", { product: "coequal" }],
    ["GET", "/customers/acme/keys"],
    ["POST", "/products/coequal/releases", { version: "1.0.0", channel: "stable" }],
    ["GET", "/products/coequal/releases"],
    ["GET", "/products/coequal/retention"],
    ["GET", "/products/absent"],
  ];
  for (const [method, path, body] of rows) {
    const answer = await running.admin(method, path, body);
    const template = `/api/v1${path.replace("/coequal", "/{product}").replace("/absent", "/{product}").replace("/acme", "/{customer}")}`;
    const responses = document.paths[template]?.[method.toLowerCase()]?.responses ?? {};
    const schema = (responses[String(answer.status)] ?? responses[`${Math.floor(answer.status / 100)}XX`])?.content?.["application/json"]?.schema;
    assert.ok(schema, `${method} ${template} ${answer.status}: ${Object.keys(responses).join(" ")}`);
    const validate = ajv.compile(schema);
    assert.ok(validate(answer.body), `${method} ${path}: ${JSON.stringify(validate.errors)}`);
  }
});

test("the release index validates against the document, with a machine rollout and with a version that was withdrawn", async () => {
  await publish(running, "jaco", "1.0.0");
  await publish(running, "jaco", "1.1.0");
  assert.equal((await running.admin("POST", "/products/jaco/releases/1.1.0/rollout", { machines: 10 })).status, 200);
  assert.equal((await running.admin("POST", "/products/jaco/releases/1.0.0/withdraw", { reason: "loses data" })).status, 200);
  const index: unknown = await (await get(running, "/releases/jaco/index.json", await issuePair(running, "jaco-reader", "jaco"))).json();
  const schema = document.paths["/releases/{product}/index.json"]?.["get"]?.responses["200"]?.content?.["application/json"]?.schema;
  assert.ok(schema);
  const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(schema);
  assert.ok(validate(index), JSON.stringify(validate.errors));
});

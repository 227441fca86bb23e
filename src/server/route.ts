/** What a route is: one row with method, path, who may call it, its schemas and what it runs. The table of all rows is routes.ts. */
import type { FastifyReply, FastifyRequest } from "fastify";
import type { z } from "zod";
import type { AdminPrincipal, Principal } from "../access/principal.ts";
import type { ServerContext } from "./context.ts";

/**
 * `open`: anybody. `customer`: an access pair (or an admin token), and only for products that it was granted. `admin`: an admin token.
 * `operations`: an admin token, or nobody in particular from this very machine.
 */
export type Access = "open" | "customer" | "admin" | "operations";

export type Tag =
  | "downloads"
  | "setup"
  | "products"
  | "uploads"
  | "releases"
  | "customers"
  | "audit"
  | "advisories"
  | "feeds"
  | "notices"
  | "portal"
  | "operations";

/** One request on its way through a route. */
export type Call<P = unknown, Q = unknown, B = unknown> = {
  readonly context: ServerContext;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  /** Undefined on open routes only. */
  readonly principal: Principal | undefined;
};

export type RouteRow = {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** find-my-way's form: `/releases/:product/:version/:file`, `*` for the rest. */
  readonly path: string;
  readonly access: Access;
  readonly tag: Tag;
  readonly summary: string;
  readonly params?: z.ZodType;
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  /** Status and JSON of success; routes without `json` send other bytes (or none). */
  readonly success: { readonly status: number; readonly json?: z.ZodType; readonly media?: string; readonly text: string };
  /** Takes the body as a stream of any size instead of JSON. */
  readonly isRawBody?: true;
  /** Returns the JSON; routes that send bytes themselves return nothing. */
  readonly run: (call: Call) => Promise<unknown>;
};

type Parsed<S extends z.ZodType | undefined> = S extends z.ZodType ? z.output<S> : undefined;

/** Gives `run` the types that its own schemas have proved. */
export function route<P extends z.ZodType | undefined = undefined, Q extends z.ZodType | undefined = undefined, B extends z.ZodType | undefined = undefined>(
  row: Omit<RouteRow, "params" | "query" | "body" | "run"> & {
    readonly params?: P;
    readonly query?: Q;
    readonly body?: B;
    readonly run: (call: Call<Parsed<P>, Parsed<Q>, Parsed<B>>) => Promise<unknown>;
  },
): RouteRow {
  return row as unknown as RouteRow; // server.ts runs a route only after fastify has checked these very schemas
}

/** The administrator of an `admin` route; the hook in caller.ts has let nobody else through. */
export function adminOf(call: Pick<Call, "principal">): AdminPrincipal {
  if (call.principal?.kind !== "admin") throw new Error("an admin route ran without an administrator");
  return call.principal;
}

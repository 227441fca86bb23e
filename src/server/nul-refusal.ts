/**
 * Refuses the character U+0000, which no name and no text of ours has: PostgreSQL cannot hold it and cannot even be asked for it, so that
 * it would come back from there as a failure of the server.
 */
import type { FastifyRequest } from "fastify";
import { SlipwayError } from "../model/errors.ts";
import { absent } from "./error-rim.ts";

/** For every route, whatever its protocol. Throws `not_found`: nothing has such an address. */
export function refuseNulAddress(request: FastifyRequest): void {
  if (request.url.includes("%00")) throw absent();
}

/** For bodies that were read as JSON or as a form. Throws `usage`. */
export function refuseNulBody(request: FastifyRequest): void {
  if (holdsNul(request.body)) throw new SlipwayError("usage", "the body has a NUL character in a text", { hint: "send the text without it" });
}

/** Not by calling itself: a megabyte of brackets would be deeper than the stack. */
function holdsNul(body: unknown): boolean {
  const open: unknown[] = [body];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value === "string" && value.includes("\0")) return true;
    if (value === null || typeof value !== "object") continue;
    if (Array.isArray(value)) for (const inner of value) open.push(inner);
    else for (const [name, inner] of Object.entries(value)) open.push(name, inner);
  }
  return false;
}

/** Asks a running `slipway guard exec` to stop or start the product: one JSON line there, one back, over a Unix socket in the private folder. */
import { createConnection } from "node:net";
import { z } from "zod";
import { readStreamBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";

export const supervisorRequests = ["stop", "start", "status"] as const;
export type SupervisorRequest = (typeof supervisorRequests)[number];

const answerSchema = z.discriminatedUnion("ok", [
  z.object({ ok: z.literal(true), isRunning: z.boolean(), restarts: z.int().nonnegative() }),
  z.object({ ok: z.literal(false), message: z.string().max(4000) }),
]);

export type SupervisorStatus = { readonly isRunning: boolean; readonly restarts: number };

const answerLimitBytes = 64 * 1024;

/** Throws `hook_failed` where no supervisor runs, it does not answer in time, or it could not do it. */
export async function askSupervisor(path: string, request: SupervisorRequest, timeoutMs: number): Promise<SupervisorStatus> {
  const socket = createConnection(path);
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer after ${timeoutMs} ms`)));
  try {
    socket.end(`${JSON.stringify({ request })}\n`);
    const answer = answerSchema.parse(JSON.parse((await readStreamBounded(socket, answerLimitBytes, "the supervisor")).toString("utf8")));
    if (answer.ok) return { isRunning: answer.isRunning, restarts: answer.restarts };
    throw new SlipwayError("hook_failed", `${request}: ${answer.message}`);
  } catch (error) {
    if (error instanceof SlipwayError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new SlipwayError("hook_failed", `${request}: the supervisor cannot be asked: ${why}`, {
      place: path,
      hint: "service: supervisor: true needs the product to run under `slipway guard exec`",
      cause: error,
    });
  } finally {
    socket.destroy();
  }
}

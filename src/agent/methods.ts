/** The table of what the agent can be asked: by HTTP, by WebSocket frame, and, as the same words, on the command line. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { parseVersion, type Version } from "../model/version.ts";
import type { Approver } from "../updater/operations.ts";
import type { Agent } from "./agent.ts";
import { operationView } from "./operation.ts";
import type { Caller, Role } from "./roles.ts";
import { errorView, statusView } from "./view.ts";

const version = z
  .string()
  .max(128)
  .transform((text, context): Version => {
    try {
      return parseVersion(text);
    } catch (error) {
      context.addIssue({ code: "custom", message: error instanceof Error ? error.message : String(error) });
      return z.NEVER;
    }
  });
const idempotencyKey = z
  .string()
  .regex(/^[\x21-\x7e]{1,128}$/, "must be 1 to 128 visible characters")
  .optional();

const nothing = z.strictObject({});
const installParams = z.strictObject({ version: version.optional(), isOutsideWindow: z.boolean().optional(), idempotencyKey });
const rollbackParams = z.strictObject({ version: version.optional(), restoreState: z.enum(["auto", "always", "never"]).optional(), idempotencyKey });
const planParams = z.strictObject({ version: version.optional() });

export type MethodRow = {
  /** The frame's `method`. */
  readonly name: string;
  readonly verb: "GET" | "POST";
  readonly path: string;
  readonly role: Role;
  /** 202: it has begun and goes on. */
  readonly status: 200 | 202;
  readonly params: z.ZodType;
  readonly text: string;
  /** `params` is what the schema of this row made. */
  readonly call: (agent: Agent, caller: Caller, params: unknown) => Promise<Readonly<Record<string, unknown>>>;
};

function row<T extends z.ZodType>(
  made: Omit<MethodRow, "params" | "call"> & {
    readonly params: T;
    readonly call: (agent: Agent, caller: Caller, params: z.output<T>) => Promise<Readonly<Record<string, unknown>>>;
  },
): MethodRow {
  return { ...made, call: (agent, caller, params) => made.call(agent, caller, params as z.output<T>) };
}

const approverOf = ({ name }: Caller): Approver => ({ mode: "explicit", by: `agent:${name}` });
const planLimitMs = 120_000;

export const methods: readonly MethodRow[] = [
  row({
    name: "update.check",
    verb: "POST",
    path: "/v1/update/check",
    role: "read",
    status: 200,
    params: nothing,
    text: "Is there a newer release? Writes nothing.",
    call: async (agent) => {
      const { installed, channel, offer, pin } = await agent.check();
      return { installed, channel, offer, pin };
    },
  }),
  row({
    name: "update.plan",
    verb: "POST",
    path: "/v1/update/plan",
    role: "install",
    status: 200,
    params: planParams,
    text: "Verifies the release on offer and says what an upgrade would do. Writes nothing.",
    call: async (agent, _caller, params) => ({ plan: (await agent.plan({ ...params, signal: AbortSignal.timeout(planLimitMs) })) ?? null }),
  }),
  row({
    name: "update.install",
    verb: "POST",
    path: "/v1/update/install",
    role: "install",
    status: 202,
    params: installParams,
    text: "Begins an upgrade; while one to the same version runs, it is the answer.",
    call: async (agent, caller, params) => operationView(await agent.install(params, approverOf(caller)), caller),
  }),
  row({
    name: "update.confirm",
    verb: "POST",
    path: "/v1/update/confirm",
    role: "install",
    status: 202,
    params: nothing,
    text: "Approves an upgrade that waits, and goes on with it.",
    call: async (agent, caller) => operationView(await agent.confirm(approverOf(caller)), caller),
  }),
  row({
    name: "update.cancel",
    verb: "POST",
    path: "/v1/update/cancel",
    role: "install",
    status: 200,
    params: nothing,
    text: "Gives up an upgrade that has switched nothing yet.",
    call: async (agent) => ({ cancelled: (await agent.cancel()).version }),
  }),
  row({
    name: "update.rollback",
    verb: "POST",
    path: "/v1/update/rollback",
    role: "rollback",
    status: 202,
    params: rollbackParams,
    text: "Goes back to the previous version, or to one that is kept.",
    call: async (agent, caller, params) => operationView(await agent.rollback(params, `agent:${caller.name}`), caller),
  }),
  row({
    name: "update.status",
    verb: "GET",
    path: "/v1/update/status",
    role: "read",
    status: 200,
    params: nothing,
    text: "What is installed, what is going on, and how the last operation ended.",
    call: async (agent, caller) => {
      const operation = agent.last();
      const checked = agent.lastCheck();
      return {
        ...statusView(await agent.status(), caller),
        operation: operation === undefined ? null : operationView(operation, caller),
        lastCheck:
          checked === undefined
            ? null
            : {
                at: checked.at.toISOString(),
                offer: checked.check?.offer ?? null,
                error: checked.error === undefined ? null : errorView(checked.error, caller),
              },
      };
    },
  }),
];

/** Checks role and parameters, then does it. Throws `forbidden`, `usage`, or what the operation throws. */
export async function callMethod(agent: Agent, method: MethodRow, caller: Caller, given: unknown): Promise<Readonly<Record<string, unknown>>> {
  if (!caller.roles.has(method.role))
    throw new SlipwayError("forbidden", `${method.name} needs the role ${method.role}`, { hint: "ask for a token with that role" });
  const parsed = method.params.safeParse(given ?? {});
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new SlipwayError("usage", `${issue?.path.map(String).join(".") ?? ""} ${issue?.message ?? "is not valid"}`.trim(), {
      hint: "docs/embed.md lists the parameters",
    });
  }
  return method.call(agent, caller, parsed.data);
}

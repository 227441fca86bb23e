/** `slipway grant set|show|list|remove`: what a customer may read of a product. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { grantFormats, lapseModes } from "../model/grant.ts";
import { grantSchema, type WireGrant } from "../server/grant-wire.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, flagOption, type Invocation, listOption, type OptionValues, textOption } from "./command.ts";

const grantPath = (invocation: Invocation): readonly string[] => [
  "customers",
  invocation.args[0] ?? "",
  "grants",
  textOption(invocation.options, "product") ?? "",
];

/** A day means its end in UTC: who is entitled until the 1st reads on the 1st. */
export function endOfDay(flag: string, text: string): string {
  const isDay = /^\d{4}-\d{2}-\d{2}$/.test(text);
  const date = new Date(isDay ? `${text}T23:59:59.999Z` : text);
  if (Number.isNaN(date.getTime())) throw new SlipwayError("usage", `${flag} ${text}: expected a day as 2026-11-01, or an instant as 2026-11-01T12:00:00Z`);
  return date.toISOString();
}

function formatsOf(options: OptionValues): Record<string, unknown> {
  const formats = listOption(options, "formats");
  const unknown = formats?.find((format) => !(grantFormats as readonly string[]).includes(format));
  if (unknown !== undefined) throw new SlipwayError("usage", `--formats ${unknown}: expected some of ${grantFormats.join(", ")}`);
  return formats === undefined ? {} : { formats };
}

const isLifted = (text: string | undefined): boolean => text === "any" || text === "never";

/** `--pin VERSION` with what belongs to it; `--unpin` and `--pin any` end it. */
function pinOf(options: OptionValues): Readonly<Record<string, unknown>> {
  const [pin, until] = [textOption(options, "pin"), textOption(options, "pinUntil")];
  const isFutureAllowed = flagOption(options, "allowFuture");
  const isUnpinned = flagOption(options, "unpin");
  if (pin !== undefined && isUnpinned) throw new SlipwayError("usage", "--pin and --unpin exclude each other");
  const isPinned = pin !== undefined && !isLifted(pin);
  for (const [flag, isGiven] of [
    ["--pin-until", until !== undefined],
    ["--allow-future", isFutureAllowed],
  ] as const) {
    if (isGiven && !isPinned) throw new SlipwayError("usage", `${flag} needs --pin VERSION`);
  }
  if (!isPinned) return isUnpinned || pin !== undefined ? { pin: null } : {};
  return {
    pin: {
      version: pin,
      ...(until === undefined ? {} : { until: endOfDay("--pin-until", until) }),
      ...(isFutureAllowed ? { allowFuture: true } : {}),
    },
  };
}

/** `any` lifts a limit. */
function changeOf(options: OptionValues): Readonly<Record<string, unknown>> {
  const given = (name: string): string | undefined => textOption(options, name);
  const [channel, versions, until, lapse] = [given("channel"), given("versions"), given("until"), given("lapse")];
  return {
    ...(channel === undefined ? {} : { channel: isLifted(channel) ? null : channel }),
    ...(isLifted(given("formats")) ? { formats: null } : formatsOf(options)),
    ...(versions === undefined ? {} : { versions: isLifted(versions) ? null : versions }),
    ...(until === undefined ? {} : { entitledUntil: isLifted(until) ? null : endOfDay("--until", until) }),
    ...(lapse === undefined ? {} : { lapse }),
    ...pinOf(options),
  };
}

/** What it allows, in a few words. */
function limitsText(grant: WireGrant): string {
  const lapse = grant.lapse === "cut" ? ", then nothing" : ", then what was published before";
  const pin = grant.pin === null ? "" : `nothing newer than ${grant.pin.version}${grant.pin.until === null ? "" : ` until ${grant.pin.until}`}`;
  const limits = [
    grant.channel === null ? "" : `${grant.channel} and more stable`,
    grant.formats === null ? "" : `only ${grant.formats.join(", ")}`,
    grant.versions === null ? "" : `versions ${grant.versions}`,
    grant.entitledUntil === null ? "" : `until ${grant.entitledUntil}${lapse}`,
    pin,
  ].filter((text) => text !== "");
  return limits.length === 0 ? "everything" : limits.join("; ");
}

export const runSet: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const lapse = textOption(options, "lapse");
  if (lapse !== undefined && !(lapseModes as readonly string[]).includes(lapse)) throw new SlipwayError("usage", `--lapse ${lapse}: expected keep or cut`);
  const change = changeOf(options);
  const api = await openApi(invocation);
  const grant = await api.call({ method: "PUT", path: grantPath(invocation), body: change, schema: grantSchema });
  output.result(grant);
  output.line(`${grant.customer} reads of ${grant.product}: ${limitsText(grant)}`);
  if (change["entitledUntil"] !== undefined && grant.entitledUntil !== null && Date.parse(grant.entitledUntil) < Date.now()) {
    output.line("that time is over: the limit is in force now");
  }
  return 0;
};

export const runShow: CommandRun = async (invocation) => {
  const { output } = invocation;
  const api = await openApi(invocation);
  const grant = await api.call({ method: "GET", path: grantPath(invocation), schema: grantSchema });
  output.result(grant);
  output.line(`${grant.customer} reads of ${grant.product}: ${limitsText(grant)}`);
  return 0;
};

export const runList: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const api = await openApi(invocation);
  const query: Record<string, string> = {};
  for (const name of ["customer", "product"]) {
    const value = textOption(options, name);
    if (value !== undefined) query[name] = value;
  }
  const { grants } = await api.call({ method: "GET", path: ["grants"], query, schema: z.object({ grants: z.array(grantSchema) }) });
  output.result({ grants });
  if (grants.length === 0) output.line("no grants; `slipway key issue CUSTOMER --product PRODUCT` makes one without limits");
  else
    output.table(
      ["CUSTOMER", "PRODUCT", "READS"],
      grants.map((grant) => [grant.customer, grant.product, limitsText(grant)]),
    );
  return 0;
};

export const runRemove: CommandRun = async (invocation) => {
  const { output } = invocation;
  const api = await openApi(invocation);
  const schema = z.object({ customer: z.string(), product: z.string(), state: z.literal("removed") });
  const removed = await api.call({ method: "DELETE", path: grantPath(invocation), schema });
  output.result(removed);
  output.line(`${removed.customer} reads nothing of ${removed.product} any more`);
  return 0;
};

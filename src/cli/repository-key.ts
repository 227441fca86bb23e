/** `slipway repository-key status|rotate|finish`: the key that signs the server's indexes, and a new one taking over. */
import type { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { keyGenerationsSchema, rotatedKeySchema, type WireKeyGeneration } from "../server/repository-key-wire.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, flagOption, textOption } from "./command.ts";
import type { Output } from "./output.ts";

export const runStatus: CommandRun = async (invocation) => {
  const api = await openApi(invocation);
  const status = await api.call({ method: "GET", path: ["repository-key"], schema: keyGenerationsSchema });
  invocation.output.result(status);
  printGenerations(invocation.output, status.generations);
  return 0;
};

export const runRotate: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const revokeOldFor = textOption(options, "revokeOld");
  const api = await openApi(invocation);
  output.note("making an OpenPGP and an apk key, both RSA-4096, and signing every index anew");
  const body = revokeOldFor === undefined ? {} : { revokeOldFor };
  const rotated = await api.call({ method: "POST", path: ["repository-key", "rotate"], body, schema: rotatedKeySchema, isRepeatable: false });
  printRotated(output, rotated);
  output.line(
    revokeOldFor === undefined
      ? "both keys sign now; give customers of apt and apk the new set-up text, then run: slipway repository-key finish"
      : "the old key signs no more; customers of apt and apk need the new set-up text before their next update",
  );
  return 0;
};

/** Shorter than this, machines that are off for a week-end would find their key gone. */
const shortestOverlapDays = 7;
const dayMs = 86_400_000;

/** Ends an overlap of some days; a shorter one with --force alone: customers with the old key only are refused from then on. */
export const runFinish: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const api = await openApi(invocation);
  const { generations } = await api.call({ method: "GET", path: ["repository-key"], schema: keyGenerationsSchema });
  const incoming = generations.find(({ state }) => state === "incoming");
  const days = incoming === undefined ? Number.POSITIVE_INFINITY : Math.floor((Date.now() - Date.parse(incoming.createdAt)) / dayMs);
  if (days < shortestOverlapDays && !flagOption(options, "force")) {
    throw new SlipwayError("conflict", `both keys have signed for ${days} days only; apt and apk with the old key alone are refused after the end`, {
      hint: `wait until customers have the new set-up text, ${shortestOverlapDays} days at least; or end it now with --force`,
    });
  }
  const rotated = await api.call({ method: "POST", path: ["repository-key", "finish"], schema: rotatedKeySchema, isRepeatable: false });
  printRotated(output, rotated);
  output.line("the new key signs alone");
  return 0;
};

function printRotated(output: Output, rotated: z.output<typeof rotatedKeySchema>): void {
  output.result(rotated);
  printGenerations(output, rotated.generations);
  output.line(`signed anew: ${rotated.resigned.length === 0 ? "nothing, there is no publication yet" : rotated.resigned.join(", ")}`);
}

function printGenerations(output: Output, generations: readonly WireKeyGeneration[]): void {
  output.table(
    ["STATE", "OPENPGP", "APK", "SINCE", "UNTIL", "WHY"],
    generations.map((one) => [one.state, one.fingerprint, one.apkKeyFile, one.createdAt.slice(0, 10), one.retiredAt?.slice(0, 10) ?? "", one.retiredFor ?? ""]),
  );
}

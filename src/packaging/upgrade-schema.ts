/** The form of `upgrade:` in a recipe: what every release of the product promises about upgrades; it is signed as part of release.json. */
import { z } from "zod";
import { compatSchema, contractSchema, migrationSchema, outcomesSchema, stateSectionsSchema, type UpgradeContract } from "../model/upgrade-contract.ts";

export const upgradeSchema = z
  .strictObject({
    from: compatSchema.shape.upgradeFrom.describe(
      "Versions that may upgrade directly to this one: a range, or previous-line (this minor and the one before). By default any",
    ),
    epochs: compatSchema.shape.epochs.describe("Kind of persisted data -> the formats that this version reads, and the one that it writes"),
    mixed_with: compatSchema.shape.mixedWith.describe("Lines that may run beside this version in one cluster"),
    waypoint: compatSchema.shape.waypoint.describe("No upgrade path may pass this version by: it changes a key or a format that later versions build on"),
    migration: z
      .strictObject({
        reversible: migrationSchema.shape.reversible.describe("It can bring the state back to the former format itself"),
        backward_readable: migrationSchema.shape.backwardReadable.describe("The version before can read the state as this one leaves it"),
        contract_phase: migrationSchema.shape.contractPhase.describe("It removes what the version before still needs"),
      })
      .optional()
      .describe("What its migration does to the state"),
    state: stateSectionsSchema
      .optional()
      .describe("Everything that the product keeps: folders, files, and what a command dumps. Backed up before every upgrade"),
    outcomes: outcomesSchema.optional().describe("Named proofs that the product works, run by slipway verify outcome"),
  })
  .describe("What this release promises about upgrades, rollbacks and its outcomes");

export type UpgradeDeclaration = z.output<typeof upgradeSchema>;

/** The declaration as release.json carries it; nothing where the recipe has none. */
export function contractOf(declared: UpgradeDeclaration | undefined): UpgradeContract {
  if (declared === undefined) return {};
  const { from, epochs, mixed_with: mixedWith, waypoint, migration, state, outcomes } = declared;
  const compat = { upgradeFrom: from, epochs, mixedWith, waypoint };
  const hasCompat = Object.values(compat).some((value) => value !== undefined);
  const contract = {
    ...(hasCompat ? { compat } : {}),
    ...(migration === undefined
      ? {}
      : { migration: { reversible: migration.reversible, backwardReadable: migration.backward_readable, contractPhase: migration.contract_phase } }),
    ...(state === undefined ? {} : { state }),
    ...(outcomes === undefined ? {} : { outcomes }),
  };
  // Through JSON, so that what is undefined is not there at all; then through the schema of release.json, which is what clients apply.
  return contractSchema.parse(JSON.parse(JSON.stringify(contract)));
}

/** What an operator tells the updater for later: pins, holds, versions to try again. All of it is in state.json, changed under the lock. */
import validRange from "semver/ranges/valid.js";
import { SlipwayError } from "../model/errors.ts";
import { compareVersions, type Version } from "../model/version.ts";
import { type InstalledState, readState, writeState } from "./installed-state.ts";
import type { StateDirectory } from "./state-directory.ts";

export type Control =
  | { readonly kind: "pin"; readonly range: string }
  | { readonly kind: "unpin" }
  | { readonly kind: "hold"; readonly reason: string; readonly until?: Date | undefined }
  | { readonly kind: "unhold" }
  | { readonly kind: "unblock"; readonly version: Version };

/** Throws `usage` for a range that is none, `version_not_found` for a version that is not blocked. The caller holds the lock. */
export async function applyControl(directory: StateDirectory, product: string, control: Control, now: Date): Promise<InstalledState> {
  const state = await readState(directory.state, product);
  const next = changed(state, control, now);
  await writeState(directory.state, next);
  return next;
}

function changed(state: InstalledState, control: Control, now: Date): InstalledState {
  const at = now.getTime();
  switch (control.kind) {
    case "pin":
      return { ...state, pin: { range: requireRange(control.range), at } };
    case "unpin":
      return { ...state, pin: undefined };
    case "hold":
      return { ...state, hold: { reason: control.reason, at, ...(control.until === undefined ? {} : { until: requireLater(control.until, now) }) } };
    case "unhold":
      return { ...state, hold: undefined };
    case "unblock":
      break;
  }
  return { ...state, blocked: without(state, control.version) };
}

function requireRange(text: string): string {
  if (text.length <= 200 && validRange(text) !== null) return text;
  throw new SlipwayError("usage", `${JSON.stringify(text.slice(0, 80))} is neither a version nor a range, as "1.4.2" or "~1.4.0"`);
}

function requireLater(until: Date, now: Date): number {
  if (until > now) return until.getTime();
  throw new SlipwayError("usage", `${until.toISOString()} is over already`);
}

function without(state: InstalledState, version: Version): InstalledState["blocked"] {
  const left = state.blocked.filter((entry) => compareVersions(entry.version as Version, version) !== 0);
  if (left.length < state.blocked.length) return left;
  throw new SlipwayError("version_not_found", `${version} is not blocked`, {
    hint: `blocked are: ${state.blocked.map((entry) => entry.version).join(", ") || "none"}`,
  });
}

/**
 * Strategy `manual`: the release is fetched and verified, and an operator does the rest (manual-stage.ts). Nothing of the installation is touched.
 */
import { SlipwayError } from "../model/errors.ts";
import type { Strategy } from "./strategy.ts";

export function manualStrategy(): Strategy {
  const never = (): Promise<never> => Promise.reject(new SlipwayError("internal", "strategy manual changes nothing"));
  return {
    canFinishBeforeStart: false,
    livePaths: () => [],
    isStartable: () => Promise.resolve(true),
    adopt: (from) => Promise.resolve(from),
    look: (known) => Promise.resolve({ version: known?.version, files: known?.files ?? {} }),
    target: (artifact) => ({ files: { [artifact.name]: { sha256: artifact.sha256, mode: 0o600, size: artifact.size, member: artifact.name } } }),
    reality: () => Promise.resolve("old"),
    clean: () => Promise.resolve(),
    backUpCode: never,
    place: never,
    switchForward: never,
    switchBack: never,
  };
}

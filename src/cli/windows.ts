/** What the command cannot do on Windows: said before anything is done, instead of failing somewhere in the middle. */
import { SlipwayError } from "../model/errors.ts";

/** First words of commands, and why. The rest is tried under Wine (tests/executables/windows.slow.ts). */
const reasons: Readonly<Record<string, string>> = {
  serve: "the server's data must be private and durable by what POSIX promises of files",
  agent: "it upgrades by strategies that need Linux or macOS",
  guard: "what it starts and puts back needs Linux or macOS",
  drill: "it rehearses strategies that need Linux or macOS",
  backup: "owners, modes and links of the state would be lost",
  restore: "owners, modes and links of the state would be lost",
  "test-install": "it needs roots of Linux systems",
  "mirror sync": "readers are switched by a link, which Windows keeps for administrators",
  "mirror import": "readers are switched by a link, which Windows keeps for administrators",
  "mirror serve": "readers are switched by a link, which Windows keeps for administrators",
  "mirror timer": "it writes units of systemd",
};

/** Throws `system_unsupported` for a command that `system` cannot run. `name` is the command's row: `mirror sync`. */
export function requireSystemFor(name: string, system: NodeJS.Platform): void {
  if (system !== "win32") return;
  const [words, reason] = Object.entries(reasons).find(([known]) => name === known || name.startsWith(`${known} `)) ?? [];
  if (reason !== undefined) throw new SlipwayError("system_unsupported", `slipway ${words} does not run on Windows: ${reason}`);
}

/**
 * `container:` of the installation file: the compose service that strategy container upgrades.
 *
 *     strategy: container
 *     container:
 *       files: [/srv/jaco/compose.yaml]   # the operator's own; never changed
 *       service: jaco
 *       engine: docker                    # or podman
 */
import { dirname, join } from "node:path";
import { z } from "zod";
import { composeOverrideName, composeServicePattern } from "./compose-file.ts";

export const containerSectionSchema = z.strictObject({
  files: z.array(z.string().min(1).max(4096)).min(1).max(10),
  service: z.string().regex(composeServicePattern, "is not a name of a compose service"),
  engine: z.enum(["docker", "podman"]).default("docker"),
});

export type ContainerSection = z.output<typeof containerSectionSchema>;

/** Beside the first compose file. */
export function overridePath({ files }: ContainerSection): string {
  return join(dirname(files[0] ?? ""), composeOverrideName);
}

/** `docker compose` with the operator's files; with `isPinned` the updater's own behind them. */
export function composeCommand(section: ContainerSection, isPinned: boolean): readonly string[] {
  const files = [...section.files, ...(isPinned ? [overridePath(section)] : [])];
  return [section.engine, "compose", ...files.flatMap((file) => ["--file", file])];
}

/** How the service is stopped and started where the operator says nothing else. An image that is not here is never fetched by its name. */
export function composeService(section: ContainerSection): { readonly stop: string[]; readonly start: string[]; readonly timeout_seconds: number } {
  const compose = composeCommand(section, true);
  return {
    stop: [...compose, "stop", section.service],
    start: [...compose, "up", "--detach", "--no-deps", "--pull", "never", section.service],
    timeout_seconds: 120,
  };
}

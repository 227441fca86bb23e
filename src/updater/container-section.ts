/**
 * `container:` of the installation file: where it stands which image runs, for strategy container. Either a compose service or a quadlet.
 *
 *     strategy: container
 *     container:
 *       files: [/srv/jaco/compose.yaml]   # the operator's own; never changed
 *       service: jaco
 *       engine: docker                    # or podman
 *
 *     container: { quadlet: /etc/containers/systemd/jaco.container }   # podman under systemd; its line Image= is replaced
 */
import { z } from "zod";
import { lazyStrictObject } from "../model/lazy-object.ts";
import { composeServicePattern } from "./compose-file.ts";
import { quadletNamePattern } from "./quadlet-file.ts";

export const containerSectionSchema = lazyStrictObject(() => ({
  files: z.array(z.string().min(1).max(4096)).min(1).max(10).optional(),
  service: z.string().regex(composeServicePattern, "is not a name of a compose service").optional(),
  quadlet: z.string().max(4096).regex(quadletNamePattern, "is not the path of a file NAME.container").optional(),
  /** docker for a compose service, podman for a quadlet. */
  engine: z.enum(["docker", "podman"]).optional(),
  /** From the vendor's registry, or out of the release's archive; auto takes the registry where the source is one. */
  pull: z.enum(["auto", "registry", "archive"]).default("auto"),
}))
  .refine(({ files, service }) => (files === undefined) === (service === undefined), { message: "files and service go together" })
  .refine(({ service, quadlet }) => (service === undefined) !== (quadlet === undefined), { message: "name either files with service, or quadlet" })
  .refine(({ quadlet, engine }) => quadlet === undefined || engine !== "docker", { message: "a quadlet is run by podman" });

export type ContainerSection = z.output<typeof containerSectionSchema>;

/** Its paths, absolute. */
export function withAbsoluteFiles(section: ContainerSection, at: (path: string) => string): ContainerSection {
  return {
    ...section,
    ...(section.files === undefined ? {} : { files: section.files.map(at) }),
    ...(section.quadlet === undefined ? {} : { quadlet: at(section.quadlet) }),
  };
}

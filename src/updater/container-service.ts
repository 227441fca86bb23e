/** The engine of an installation of strategy container, and the place where it says which image runs. */
import { SlipwayError } from "../model/errors.ts";
import { composePin } from "./compose-pin.ts";
import { type ContainerEngine, containerEngine } from "./container-engine.ts";
import type { ImagePin } from "./image-pin.ts";
import type { Installation } from "./installation.ts";
import type { Machine } from "./machine.ts";
import { quadletPin } from "./quadlet-pin.ts";
import { stateDirectoryOf } from "./state-directory.ts";

export type ContainerService = { readonly engine: ContainerEngine; readonly pin: ImagePin };

export function containerService({ container, product, stateDir, isCopy }: Installation, machine: Machine): ContainerService {
  if (container === undefined) throw new SlipwayError("internal", "strategy container without a service");
  const { files, service, quadlet } = container;
  if (quadlet !== undefined) {
    const engine = containerEngine("podman", machine);
    return { engine, pin: quadletPin(quadlet, { engine, machine, product, directory: stateDirectoryOf(stateDir), isCopy: isCopy === true }) };
  }
  if (files === undefined || service === undefined) throw new SlipwayError("internal", "a container section that its schema did not see");
  const engine = containerEngine(container.engine ?? "docker", machine);
  return { engine, pin: composePin({ files, service }, { engine, product }) };
}

/** Where an installation says which image runs: the one switch point of strategy container. A compose file of the updater's own, or a line of a quadlet. */
import type { Installation } from "./installation.ts";

/** `image` is what stands in the file: an id for compose, a kept name with a digest for a quadlet. */
export type PinnedImage = { readonly version: string; readonly image: string };

/** An image as an engine knows it. */
export type PresentImage = { readonly version: string; readonly id: string };

export type ImagePin = {
  /** The file that a switch replaces, and its folder must be writable. */
  readonly path: string;
  /** Of the service, for people. */
  readonly name: string;
  readonly service: NonNullable<Installation["service"]>;
  /** Where the service starts while the file is changed, does the start take the new image? systemd has read a quadlet long before. */
  readonly isReadAtStart: boolean;
  /** What the updater has pinned; undefined where the operator's own image runs. Throws `state_dir_insecure` for a file that is not as it must be. */
  readonly read: () => Promise<PinnedImage | undefined>;
  /** Durable when it returns, and in force for the next start. Idempotent. */
  readonly write: (pinned: PinnedImage) => Promise<void>;
  /** As it was before the updater's first version. Idempotent. */
  readonly unpin: () => Promise<void>;
  /** How an image stands in the file. It has its kept name. */
  readonly nameOf: (image: PresentImage) => Promise<string>;
  /** Id of the image of the service's container; undefined where none runs. */
  readonly runningImage: () => Promise<string | undefined>;
};

/** What a rollout remembers between runs: for which version it is, and which hosts it has taken out of service. Everything else the agents know. */
import { z } from "zod";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";

const recordSchema = z.strictObject({
  schema: z.literal(1),
  product: z.string().max(63),
  version: z.string().max(128),
  /** Names of hosts: taken out of service, and not put back yet. */
  drained: z.array(z.string().max(63)).max(1000),
});

export type FleetRecord = z.output<typeof recordSchema>;

const sizeLimitBytes = 256 * 1024;

/** Undefined where there is none. Throws `journal_corrupt` for a file that is not ours. */
export async function readFleetRecord(path: string): Promise<FleetRecord | undefined> {
  try {
    return recordSchema.parse(JSON.parse((await readFileBounded(path, sizeLimitBytes)).toString("utf8")));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new SlipwayError("journal_corrupt", "the rollout's record cannot be read", {
      place: path,
      hint: "it names the hosts that are out of service: look at it before you remove it",
      cause: error,
    });
  }
}

export async function writeFleetRecord(path: string, record: FleetRecord): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(recordSchema.parse(record), undefined, 1)}\n`);
}

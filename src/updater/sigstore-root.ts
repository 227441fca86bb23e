/**
 * The Sigstore trusted root that the vendor's TUF metadata lists, followed: the one of the installation file is where a machine begins, this is
 * what it has come to. `updates/trust/sigstore-root.json`, written whole, with the digest that was listed.
 *
 * It names authorities, and nothing else: who must have signed, at which tag and with how many log entries stays with the installation file. One
 * that was followed is never left for the file's again, so that an authority that the vendor took away does not come back.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseTrustedRoot, requireWholeInstance, sigstoreRootTarget, trustedRootSizeLimit } from "../trust/sigstore-policy.ts";
import { readPrivateFile } from "./journal.ts";
import { stateDirectoryOf } from "./state-directory.ts";
import type { TufListing } from "./tuf-session.ts";

const keptSchema = z.strictObject({ schema: z.literal(1), sha256: z.string().regex(/^[0-9a-f]{64}$/), root: z.string().max(trustedRootSizeLimit) });

/** As JSON inside JSON it may have twice its size. */
const sizeLimitBytes = 2 * trustedRootSizeLimit + 1024;
const placeOf = (stateDir: string): string => join(stateDirectoryOf(stateDir).path, "trust", "sigstore-root.json");
const hexOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

type Kept = { readonly kind: "none" } | { readonly kind: "damaged" } | { readonly kind: "kept"; readonly sha256: string; readonly root: Buffer };

async function readKept(stateDir: string): Promise<Kept> {
  const bytes = await readPrivateFile(placeOf(stateDir), sizeLimitBytes);
  if (bytes === undefined) return { kind: "none" };
  try {
    const { sha256, root } = keptSchema.parse(JSON.parse(bytes.toString("utf8")));
    const content = Buffer.from(root);
    return hexOf(content) === sha256 ? { kind: "kept", sha256, root: content } : { kind: "damaged" };
  } catch {
    return { kind: "damaged" }; // told apart from a file that was never there
  }
}

/** The root that was followed; undefined where none was. Throws `journal_corrupt` for one that is damaged: going back to the file's would forget. */
export async function readSigstoreRoot(stateDir: string): Promise<Buffer | undefined> {
  const kept = await readKept(stateDir);
  if (kept.kind === "damaged") {
    throw new SlipwayError("journal_corrupt", "the Sigstore trusted root that was followed cannot be read", {
      place: placeOf(stateDir),
      hint: "with a network, `slipway upgrade check` fetches it again",
    });
  }
  return kept.kind === "kept" ? kept.root : undefined;
}

/**
 * Takes the listed root where it is another than the kept one. What is listed and cannot be had, or is unusable, throws and changes nothing: a
 * mirror that withholds it would otherwise keep a stolen authority alive. Throws `metadata_mix`, `policy_invalid` and what fetching throws.
 */
export async function followSigstoreRoot(
  stateDir: string,
  listed: TufListing | undefined,
  fetchTarget: (path: string, limit: number) => Promise<Uint8Array | undefined>,
): Promise<"followed" | "same"> {
  // A channel's key speaks for releases, not for whom to trust.
  const sha256 = listed?.role === "targets" ? listed.target.hashes["sha256"] : undefined;
  if (listed === undefined || sha256 === undefined) return "same";
  const kept = await readKept(stateDir);
  if (kept.kind === "kept" && kept.sha256 === sha256) return "same";
  const name = sigstoreRootTarget.replace(/[^/]+$/, (file) => `${sha256}.${file}`);
  const bytes = await fetchTarget(name, Math.min(listed.target.length, trustedRootSizeLimit));
  if (bytes === undefined) throw new SlipwayError("metadata_mix", `the source has no ${name}, which the metadata lists`, { detail: "file_missing" });
  if (bytes.length !== listed.target.length || hexOf(bytes) !== sha256)
    throw new SlipwayError("metadata_mix", `${name} is not what the metadata of targets lists`, { detail: "hash_mismatch" });
  requireWholeInstance(await parseTrustedRoot(bytes));
  const kind: z.output<typeof keptSchema> = { schema: 1, sha256, root: Buffer.from(bytes).toString("utf8") };
  await writeFileAtomic(placeOf(stateDir), `${JSON.stringify(kind)}\n`);
  return "followed";
}

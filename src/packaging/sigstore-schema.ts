/** The form of `sign.sigstore:` in a recipe: keyless signatures by the CI run's own identity, over every file of the release. */
import { z } from "zod";
import { type BundleOutput, bundleSuffixes } from "../trust/release-signature.ts";

const service = z
  .string()
  .refine((text) => /^https?:\/\/[^/?#@\s]+/.test(text) && URL.canParse(text) && !/[?#]/.test(text), "must be an http or https URL")
  .transform((text) => text.replace(/\/$/, ""));

const outputs = Object.keys(bundleSuffixes) as [BundleOutput, ...BundleOutput[]];

export const sigstoreSigningSchema = z
  .strictObject({
    outputs: z
      .array(z.enum(outputs))
      .min(1)
      .refine((list) => new Set(list).size === list.length, "names one twice")
      .default(["bundle"])
      .describe("Files beside each artifact: the bundle that clients verify; sig and pem are cosign's older pair"),
    fulcio: service.optional().describe("Certificate authority of a private instance"),
    rekor: service.optional().describe("Transparency log of a private instance"),
    tsa: service.optional().describe("Timestamp authority; without one the log's time counts"),
  })
  .describe("Keyless signatures with the CI run's own identity (Sigstore): <file>.bundle beside every file of the release");

export type SigstoreSigning = z.output<typeof sigstoreSigningSchema>;

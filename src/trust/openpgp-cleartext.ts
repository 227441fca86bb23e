/** Reads a cleartext-signed file (APT's InRelease, RFC 9580 7) beside the same text signed apart. */
import { SlipwayError } from "../model/errors.ts";
import { loadOpenpgp, openpgpSettings } from "./openpgp-library.ts";
import type { OpenpgpKeyring } from "./openpgp-verify.ts";

/**
 * Passes where `signed` carries exactly the text `plain`, under a good signature by a key of the keyring. Which keys and hashes are good enough
 * was decided on the detached signature over `plain` (openpgp-verify.ts), which the caller checks first: this adds that clients which read the
 * cleartext form get the same text. Throws `signature_invalid`.
 */
export async function requireCleartext(question: { readonly signed: Uint8Array; readonly plain: Uint8Array; readonly keyring: OpenpgpKeyring }): Promise<void> {
  const { signed, plain, keyring } = question;
  const refuse = (why: string, cause?: unknown): never => {
    throw new SlipwayError("signature_invalid", `the cleartext-signed file ${why}`, cause === undefined ? {} : { cause });
  };
  const text = Buffer.from(signed).toString("utf8");
  const [, body] =
    /^-----BEGIN PGP SIGNED MESSAGE-----\n(?:Hash: [A-Z0-9, -]+\n)*\n([\s\S]*?)\n-----BEGIN PGP SIGNATURE-----\n[\s\S]*?\n-----END PGP SIGNATURE-----\n?$/.exec(
      text,
    ) ?? [];
  // gpgv and the library read only what stands between the lines; bytes before or after would be unsigned and still be seen by some parsers.
  if (body === undefined) return refuse("has not the form of one");
  const unescaped = body.replaceAll(/^- /gm, "");
  if (`${unescaped}\n` !== Buffer.from(plain).toString("utf8")) return refuse("carries another text than the file that is signed apart");
  const openpgp = await loadOpenpgp();
  const config = openpgpSettings(openpgp);
  try {
    const message = await openpgp.readCleartextMessage({ cleartextMessage: text, config });
    // No date: clocks differ, and the rules on time were applied to the detached signature.
    const { signatures } = await openpgp.verify({ message, verificationKeys: [...keyring.keys], date: null, config });
    for (const signature of signatures) if (await signature.verified.catch(() => false)) return;
  } catch (error) {
    refuse("cannot be read", error);
  }
  refuse("has no good signature by a trusted key");
}

/** The options by which a command line says whom it trusts; trust-options.ts reads them. */
import type { OptionRow } from "./command.ts";

export const actionsIssuer = "https://token.actions.githubusercontent.com";

export const trustOptionRows: readonly OptionRow[] = [
  { flags: "--key <files>", text: "public keys that you trust, comma-separated: OpenPGP or minisign files, or a minisign key RW…" },
  { flags: "--fingerprint <hex>", text: "only these OpenPGP keys of the file, comma-separated" },
  { flags: "--sigstore-repository <url>", text: "whose workflow must have signed, as https://github.com/acme/acme" },
  { flags: "--sigstore-workflow <path>", text: "which workflow, as .github/workflows/release.yml" },
  { flags: "--sigstore-issuer <url>", text: `of the workflow's token; ${actionsIssuer} by default` },
  { flags: "--sigstore-root <file>", text: "the instance's trusted_root.json; nothing is fetched" },
  { flags: "--sigstore-key <file>", text: "a public key that must have signed the bundles, instead of a workflow" },
  { flags: "--trust <file>", text: "a trust file that says all of this, instead of the options above" },
];

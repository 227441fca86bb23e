/** Options that commands of several groups share. */
import type { OptionRow } from "./command.ts";

/** Every word that talks to a server as its vendor. The token itself is never a flag: other users of the machine can read those. */
export const serverOptions: readonly OptionRow[] = [
  { flags: "--server <url>", text: "address of the server; http://127.0.0.1:8420 by default", env: "SLIPWAY_SERVER" },
  { flags: "--token-file <file>", text: "file with the admin token; the variable SLIPWAY_TOKEN holds the token itself", env: "SLIPWAY_TOKEN_FILE" },
];

/** Every word that changes what channels list, for products with TUF metadata. */
export const tufKeyOptions: readonly OptionRow[] = [
  { flags: "--tuf-key <reference>", text: "TUF key of products that have TUF metadata; by default the recipe's sign.tuf" },
  { flags: "--passphrase-file <file>", text: "its first line is the passphrase of that key" },
];

/** The text of a package from outside, which need not say how it is encoded: rpm and dpkg take any bytes. */
import { isUtf8 } from "node:buffer";

/** UTF-8, and Latin-1 where it is not: the encoding of older packages, and the one that createrepo_c assumes then. */
export function plainText(bytes: Buffer): string {
  return bytes.toString(isUtf8(bytes) ? "utf8" : "latin1");
}

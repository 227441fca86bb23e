/** What a program imports as `slipway/formats`: the writers of packages and archives. They open nothing; bytes come from sources and go to sinks. */
export { SlipwayError } from "../model/errors.ts";
export { writeApk } from "./apk.ts";
export { bytesSource } from "./byte-source.ts";
export { writeDeb } from "./deb.ts";
export type { PackageSpec } from "./package.ts";
export { writeRpm } from "./rpm.ts";
export { createTarWriter } from "./tar.ts";
export { writeZip } from "./zip.ts";

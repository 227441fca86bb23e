/** The versions that apk knows: `1.4.0_rc1-r0` (apk-package(5), apk-tools version.c); any other stops its comparison in the middle. */
import { SlipwayError } from "../model/errors.ts";
import { apkVersion } from "../model/version.ts";
import type { PackageSpec } from "./package.ts";

/** Without `~hash`, which only apk 3 reads. */
const versionPattern = /^\d+(?:\.\d+)*[a-z]?(?:_(?:alpha|beta|pre|rc|cvs|svn|git|hg|p)\d*)*(?:-r\d+)?$/;

export function isApkVersion(text: string): boolean {
  return text.length <= 128 && versionPattern.test(text);
}

/** pkgver: the version, and the package release as `-r<number>`, 0 by default. Throws `version_invalid` for a version without an apk form. */
export function apkFullVersion(spec: Pick<PackageSpec, "version" | "release">): string {
  const release = spec.release ?? "0";
  if (!/^\d{1,9}$/.test(release)) {
    throw new SlipwayError("recipe_invalid", `the package release "${release}" has no apk form; apk counts releases: 1, 2, 3`);
  }
  return `${apkVersion(spec.version)}-r${Number(release)}`;
}

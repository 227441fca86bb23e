/** How each format spells a version: the cases of the tests, and the table in docs/reference/versions.md. */

export type VersionCase = {
  /** What a tag or `git describe` says. */
  readonly tag: string;
  readonly version: string;
  readonly deb: string;
  readonly rpm: string;
  /** Absent: refused, because apk has no place for it in its order. */
  readonly apk?: string;
  readonly oci: string;
  /** In names of files. */
  readonly file: string;
};

const same = (text: string) => ({ oci: text, file: text });
const tilde = (text: string) => ({ deb: text, rpm: text });

export const versionCases: readonly VersionCase[] = [
  { tag: "v1.2.0", version: "1.2.0", ...tilde("1.2.0"), apk: "1.2.0", ...same("1.2.0") },
  { tag: "v1.2.0-alpha", version: "1.2.0-alpha", ...tilde("1.2.0~alpha"), apk: "1.2.0_alpha", ...same("1.2.0-alpha") },
  { tag: "v1.2.0-beta.2", version: "1.2.0-beta.2", ...tilde("1.2.0~beta.2"), apk: "1.2.0_beta2", ...same("1.2.0-beta.2") },
  { tag: "v1.2.0-preview3", version: "1.2.0-preview3", ...tilde("1.2.0~preview3"), apk: "1.2.0_pre3", ...same("1.2.0-preview3") },
  { tag: "v1.2.0-preview10", version: "1.2.0-preview10", ...tilde("1.2.0~preview10"), apk: "1.2.0_pre10", ...same("1.2.0-preview10") },
  { tag: "v1.2.0-preview-3", version: "1.2.0-preview-3", ...tilde("1.2.0~preview.3"), apk: "1.2.0_pre3", ...same("1.2.0-preview-3") },
  { tag: "v1.2.0-rc.1", version: "1.2.0-rc.1", ...tilde("1.2.0~rc.1"), apk: "1.2.0_rc1", ...same("1.2.0-rc.1") },
  { tag: "v1.2.0-beta-x", version: "1.2.0-beta-x", ...tilde("1.2.0~beta.x"), ...same("1.2.0-beta-x") },
  { tag: "v1.2.0+b1", version: "1.2.0+b1", ...tilde("1.2.0"), apk: "1.2.0", ...same("1.2.0-b1") },
  { tag: "v1.2.0-5-gabc1234", version: "1.2.1-git.5.gabc1234", ...tilde("1.2.1~git.5.gabc1234"), apk: "1.2.1_alpha5", ...same("1.2.1-git.5.gabc1234") },
  {
    tag: "v2.0.0-rc.1-3-gabc1234",
    version: "2.0.0-rc.1.git.3.gabc1234",
    ...tilde("2.0.0~rc.1.git.3.gabc1234"),
    apk: "2.0.0_rc1_git3",
    ...same("2.0.0-rc.1.git.3.gabc1234"),
  },
];

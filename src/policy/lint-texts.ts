/** Lint rules about what a package says: its name, texts, version and keys. */
import { apkVersion, type Version } from "../model/version.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Hit, LintRule } from "./lint-rule.ts";

/** lintian warns above 80 characters; every shell and every mirror copes up to there. */
const artifactNameLimit = 80;
/** What fits a line of `apt show` and `rpm -qi`: the limit of rpmlint and lintian. */
const summaryLimit = 79;
const descriptionLineLimit = 79;

export const textRules: readonly LintRule[] = [
  {
    id: "summary-name",
    severity: "warning",
    about: "the summary begins with the package's name, which every list prints in front of it anyway",
    advice: "say what it is, without the name: `summary: Server that answers questions`",
    lintian: ["description-starts-with-package-name"],
    rpmlint: ["name-repeated-in-summary"],
    find: ({ name, summary }) =>
      summary.text.toLowerCase().startsWith(name.toLowerCase())
        ? [{ place: summary.place, message: `the summary ${quote(summary.text)} begins with the name ${name}` }]
        : [],
  },
  {
    id: "summary-form",
    severity: "warning",
    about: "the summary is too long for one line, ends with a full stop, or begins in lower case",
    advice: `write at most ${summaryLimit} characters, a capital first, no full stop`,
    lintian: ["synopsis-too-long", "description-too-long", "synopsis-is-a-sentence"],
    rpmlint: ["summary-too-long", "summary-ended-with-dot", "summary-not-capitalized", "summary-has-leading-spaces"],
    find: ({ summary }) => [
      ...(summary.text.length > summaryLimit
        ? [{ place: summary.place, message: `the summary has ${summary.text.length} characters; lists cut it at ${summaryLimit}` }]
        : []),
      ...(/[^.]\.$/.test(summary.text) ? [{ place: summary.place, message: "the summary ends with a full stop" }] : []),
      ...(/^[a-z]/.test(summary.text) ? [{ place: summary.place, message: `the summary begins in lower case: ${quote(summary.text)}` }] : []),
      ...(/^\s|\s$/.test(summary.text) ? [{ place: summary.place, message: "the summary begins or ends with a space" }] : []),
    ],
  },
  {
    id: "description",
    severity: "warning",
    about: "there is no description, or it only repeats the summary",
    advice: "add `description:` with a paragraph on what it does and for whom",
    lintian: ["description-synopsis-is-duplicated", "extended-description-is-empty", "extended-description-is-probably-too-short"],
    rpmlint: ["no-description-tag", "description-shorter-than-summary"],
    find: ({ summary, description }) => {
      const text = description.text.trim();
      if (text === "") return [{ place: summary.place, message: "the recipe has no description, so the packages repeat the summary" }];
      return text === summary.text || text.length < summary.text.length
        ? [{ place: description.place, message: "the description says less than the summary" }]
        : [];
    },
  },
  {
    id: "description-line",
    severity: "warning",
    about: "a line of the description is too long for a terminal",
    advice: `break the lines of the description at ${descriptionLineLimit} characters`,
    lintian: ["extended-description-line-too-long"],
    rpmlint: ["description-line-too-long"],
    find: ({ description }) => {
      const longest = Math.max(...description.text.split("\n").map((line) => line.length));
      return longest > descriptionLineLimit ? [{ place: description.place, message: `a line of the description has ${longest} characters` }] : [];
    },
  },
  {
    id: "license-file",
    severity: "warning",
    about: "there is no LICENSE beside the recipe, so no package carries the text that it names",
    advice: "put the licence's text into a file LICENSE beside the recipe",
    lintian: ["no-copyright-file"],
    rpmlint: ["no-license"],
    find: ({ hasLicenseFile, license }) =>
      hasLicenseFile ? [] : [{ place: license.place, message: `the licence is ${license.text}, and there is no file LICENSE or COPYING beside the recipe` }],
  },
  {
    id: "homepage",
    severity: "note",
    about: "no homepage: whoever finds the package cannot find you",
    advice: "add `homepage:`",
    rpmlint: ["no-url-tag"],
    find: ({ hasHomepage, summary }) => (hasHomepage ? [] : [{ place: summary.place, message: "the recipe names no homepage" }]),
  },
  {
    id: "artifact-name",
    severity: "warning",
    about: "the name of an artifact is very long",
    advice: "shorten the product's name, or give a template under packages.names",
    lintian: ["package-has-long-file-name"],
    find: ({ artifacts, formatsPlace }) =>
      artifacts
        .filter((name) => name.length > artifactNameLimit)
        .map((name) => ({
          place: formatsPlace,
          message: `${name} has ${name.length} characters; tools that show columns cut names above ${artifactNameLimit}`,
        })),
  },
  {
    id: "apk-version",
    severity: "error",
    about: "the prerelease has no place in apk's order of versions: `apk upgrade` would say OK and change nothing",
    advice: "use alpha, beta, preview or rc with an optional number, or leave apk out of packages.formats",
    formats: ["apk"],
    find: ({ version, formatsPlace }) => (version === undefined ? [] : apkVersionProblem(version, formatsPlace)),
  },
  {
    id: "tag-without-dot",
    severity: "warning",
    about: "SemVer compares `preview10` with `preview9` letter by letter and puts it before; deb, rpm and apk count and put it after",
    advice: "put a dot before the number: v1.2.0-preview.10",
    find: ({ version, formatsPlace }) => {
      const word = version === undefined ? undefined : /^\d+\.\d+\.\d+-(?:[^+]*\.)?([A-Za-z]+\d{2,})(?:[.+]|$)/.exec(version)?.[1];
      return word === undefined
        ? []
        : [
            {
              place: formatsPlace,
              message: `SemVer tools sort "${word}" of ${String(version)} before "${word.replace(/\d+$/, "9")}"; package managers sort it after`,
            },
          ];
    },
  },
  {
    id: "key-unfit",
    severity: "error",
    about: "a release key has expired, is revoked, or is certified with SHA-1: clients would refuse what it signs",
    advice: "make a key with `slipway keys new`, or extend the key's expiry",
    rpmlint: ["invalid-signature", "unknown-key"],
    find: ({ keys }) => keys.flatMap(({ reference, place, unfitness }) => (unfitness === undefined ? [] : [{ place, message: `${reference}: ${unfitness}` }])),
  },
  {
    id: "rpm-unsigned",
    severity: "note",
    about: "no OpenPGP key is named, so rpms are unsigned and dnf's gpgcheck=1 refuses them",
    advice: "name the release key under sign.gpg",
    formats: ["rpm"],
    rpmlint: ["no-signature"],
    find: ({ keys, formatsPlace }) =>
      keys.some(({ kind }) => kind === "openpgp") ? [] : [{ place: formatsPlace, message: "the rpms will carry no signature: the recipe has no sign.gpg" }],
  },
  {
    id: "apk-unsigned",
    severity: "note",
    about: "no apk key is named, so apks are unsigned and install with --allow-untrusted only",
    advice: "name an RSA key under sign.apk; `slipway keys new` makes one",
    formats: ["apk"],
    find: ({ keys, formatsPlace }) =>
      keys.some(({ kind }) => kind === "apk") ? [] : [{ place: formatsPlace, message: "the apks will carry no signature: the recipe has no sign.apk" }],
  },
];

function apkVersionProblem(version: Version, place: string): readonly Hit[] {
  try {
    apkVersion(version);
    return [];
  } catch (error) {
    if (error instanceof SlipwayError) return [{ place, message: `${version}: ${error.message}` }];
    throw error;
  }
}

function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}

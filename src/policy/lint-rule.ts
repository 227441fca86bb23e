/** What a lint rule is, and what it finds. */
import type { PackageFacts, PackageFormatWord } from "../model/package-facts.ts";

/** error: some package will not build, not install, or break an installation. warning: against the rules of a distribution. note: worth knowing. */
export const severities = ["error", "warning", "note"] as const;
export type Severity = (typeof severities)[number];

export type Finding = {
  /** A row of lintRules, or `recipe` and `source` for what cannot even be planned. */
  readonly rule: string;
  readonly severity: Severity;
  /** `slipway.yaml:14:5` */
  readonly place: string;
  readonly message: string;
  readonly advice: string;
};

/** What a rule found: where, and what in words with the values that matter. */
export type Hit = { readonly place: string; readonly message: string };

export type LintRule = {
  readonly id: string;
  readonly severity: Severity;
  /** What is wrong in general, for the docs. */
  readonly about: string;
  /** What to do. */
  readonly advice: string;
  /** Formats that it concerns; all by default. */
  readonly formats?: readonly PackageFormatWord[];
  /** Tags of lintian and of rpmlint that say the same. */
  readonly lintian?: readonly string[];
  readonly rpmlint?: readonly string[];
  readonly find: (facts: PackageFacts) => readonly Hit[];
};

/**
 * `slipway lint` as rules: facts about a package in, findings out, before anything is built.
 *
 * Each rule says which tags of lintian and rpmlint it stands for, so that the slow suite can hold it against the real programs and the docs can list it.
 */
import type { PackageFacts } from "../model/package-facts.ts";
import { fileRules } from "./lint-files.ts";
import { placeRules } from "./lint-places.ts";
import { type Finding, type LintRule, severities } from "./lint-rule.ts";
import { scriptRules } from "./lint-scripts.ts";
import { textRules } from "./lint-texts.ts";
import { unitRules } from "./lint-units.ts";

/** All rules, in the order of the docs. */
export const lintRules: readonly LintRule[] = [...textRules, ...placeRules, ...fileRules, ...scriptRules, ...unitRules];

/** Findings for one product, each once whatever the number of targets, in the order of the recipe's lines. */
export function lintPackages(packages: readonly PackageFacts[]): readonly Finding[] {
  const findings = new Map<string, Finding>();
  for (const facts of packages) {
    for (const { id, severity, advice, formats, find } of lintRules) {
      if (formats !== undefined && !formats.some((format) => facts.formats.includes(format))) continue;
      for (const { place, message } of find(facts)) {
        const key = `${place}\0${id}\0${message}`;
        if (!findings.has(key)) findings.set(key, { rule: id, severity, place, message, advice });
      }
    }
  }
  return sortFindings([...findings.values()]);
}

/** By line and column of the recipe, then by severity. */
export function sortFindings(findings: readonly Finding[]): readonly Finding[] {
  const position = ({ place }: Finding): readonly [number, number] => {
    const [, line = "0", column = "0"] = /:(\d+):(\d+)$/.exec(place) ?? [];
    return [Number(line), Number(column)];
  };
  return findings.toSorted((left, right) => {
    const [leftLine, leftColumn] = position(left);
    const [rightLine, rightColumn] = position(right);
    return leftLine - rightLine || leftColumn - rightColumn || severities.indexOf(left.severity) - severities.indexOf(right.severity);
  });
}

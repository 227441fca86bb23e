/** The reporter that tests/run.ts gives to each test file: what happened, as JSON lines on file descriptor 3, written at once so that a killed file's are kept. */
import { writeSync } from "node:fs";
import type { TestEvent } from "node:test/reporters";

export type TestOutcome =
  | { readonly kind: "started"; readonly name: string }
  | { readonly kind: "passed"; readonly name: string; readonly ms: number }
  | { readonly kind: "skipped"; readonly name: string; readonly why: string }
  | { readonly kind: "failed"; readonly name: string; readonly error: string }
  /** What a test says of itself with `t.diagnostic`: its figures. */
  | { readonly kind: "said"; readonly name: string };

/** node:test's own summary of a file comes in the same way. */
const summary = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/;

function outcomeOf(event: TestEvent): TestOutcome | undefined {
  if (event.type === "test:dequeue") return { kind: "started", name: event.data.name };
  if (event.type === "test:diagnostic") return summary.test(event.data.message) ? undefined : { kind: "said", name: event.data.message };
  if (event.type !== "test:pass" && event.type !== "test:fail") return undefined;
  const { name, skip, details } = event.data;
  if (event.type === "test:fail") return { kind: "failed", name, error: describe(event.data.details.error) };
  if (skip !== undefined && skip !== false) return { kind: "skipped", name, why: String(skip) };
  return details.type === "suite" ? undefined : { kind: "passed", name, ms: details.duration_ms };
}

function describe(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}

// oxlint-disable-next-line import/no-default-export -- node:test asks for one
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    const outcome = outcomeOf(event);
    if (outcome !== undefined) writeSync(3, `${JSON.stringify(outcome)}\n`);
  }
  yield "";
}

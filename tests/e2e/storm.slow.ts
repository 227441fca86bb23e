/** The storm of the acceptance: 1,000 releases while apt 2.6 and 3.0, dnf, the AWS CLI and skopeo read all the time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { needClient } from "../support/clients.ts";
import { runStorm } from "./storm-run.ts";

test("C12 C13 a thousand releases are published while apt, dnf, aws s3 sync and skopeo run: no client fails, no mirror is mixed", async (t) => {
  if (!needClient(t, "mmdebstrap", "dnf", "rpm", "aws", "skopeo", "busybox")) return;
  const storm = await runStorm(t, { publishes: 1_000, apt: ["bookworm", "trixie"], isDnfIn: true, imageEvery: 20 });
  t.diagnostic(JSON.stringify(storm));
  assert.deepEqual(storm.failures, []);
  assert.ok(
    Object.values(storm.runs).every((runs) => runs >= 10),
    JSON.stringify(storm.runs),
  );
});

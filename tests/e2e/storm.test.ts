/** A short storm for every test run: releases are published while apt, the AWS CLI and skopeo read; the long one is storm.slow.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { needClient } from "../support/clients.ts";
import { runStorm } from "./storm-run.ts";

test("C12 C13 fifteen releases are published while apt-get update, aws s3 sync and skopeo copy run: no client fails, no mirror is mixed", async (t) => {
  if (!needClient(t, "mmdebstrap", "aws", "skopeo", "busybox")) return;
  const storm = await runStorm(t, { publishes: 15, apt: ["bookworm"], isDnfIn: false, imageEvery: 5 });
  t.diagnostic(JSON.stringify(storm));
  assert.deepEqual(storm.failures, []);
  for (const client of ["apt-get update (bookworm)", "aws s3 sync", "skopeo copy"]) assert.ok((storm.runs[client] ?? 0) >= 2, `${client} ran during the storm`);
});

/** The commands of channels, grants, keys and retention policy against a real server, run in this process. */
import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { commands } from "../../src/cli/commands.ts";
import type { OptionValues } from "../../src/cli/command.ts";
import { createOutput } from "../../src/cli/output.ts";
import { asSlipwayError } from "../../src/model/errors.ts";
import { issuePair, publishTo, startServer } from "../server/running-server.ts";

test("C3 C9 promote, rollout, grant, restrict, rotate, a new repository key and retention say what they did, and what is wrong", async (t) => {
  const running = await startServer();
  t.after(() => running.stop());
  await publishTo(running, "coequal", "1.4.0", {});
  await publishTo(running, "coequal", "1.5.0", { channel: "preview" });
  const pair = await issuePair(running, "acme", "coequal");
  const env = { SLIPWAY_SERVER: running.url, SLIPWAY_TOKEN_FILE: join(running.dataDir, "admin-token") };
  const run = async (name: string, args: readonly string[], options: OptionValues = {}): Promise<string> => {
    const row = commands.find((command) => command.name === name) ?? assert.fail(name);
    const stream = new PassThrough();
    const output = createOutput(false, { stdout: stream, stderr: stream } as unknown as Parameters<typeof createOutput>[1]);
    const loaded = await row.load();
    const more = { product: "coequal", server: running.url, tokenFile: env.SLIPWAY_TOKEN_FILE };
    await loaded.run({ args, options: { ...more, ...options }, output, signal: new AbortController().signal, cwd: tmpdir(), env, version: "9.9.9" });
    return String(stream.read() ?? "");
  };
  const refused = async (name: string, args: readonly string[], options: OptionValues = {}): Promise<string> =>
    run(name, args, options).then(
      () => assert.fail(`${name} was not refused`),
      (error: unknown) => `${asSlipwayError(error).code}: ${asSlipwayError(error).message}`,
    );

  assert.match(await run("channel rank", ["beta", "50"]), /beta of coequal has rank 50/);
  assert.match(await run("release promote", ["v1.5.0"], { to: "stable", percent: "10" }), /coequal 1\.5\.0 is in preview, stable \(10 %\)/);
  assert.match(await run("release rollout", ["v1.5.0"], { percent: "0" }), /1\.5\.0 in stable is halted/);
  assert.match(await run("release rollout", ["v1.5.0"], { bypass: true }), /reaches 100 % of the customers/);
  assert.match(await run("release list", []), /1\.5\.0 +preview, stable +published/);
  assert.match(await run("channel list", []), /stable +100 +1\.5\.0 +2\n[^]*beta +50/);
  assert.match(await run("release demote", ["v1.5.0"], { from: "stable" }), /is in preview$/m);
  assert.match(await refused("release demote", ["v1.5.0"], { from: "preview" }), /^conflict: .*no other channel/);
  assert.match(await refused("release rollout", ["v1.5.0"], { percent: "101" }), /^usage/);
  assert.match(await refused("release rollout", ["v1.5.0"], { percent: "50" }), /^conflict: .*not in the channel stable/);

  const limits = { channel: "stable", formats: "deb,oci", versions: ">=1.0.0", until: "2027-11-01", lapse: "cut", pin: "1.4.0", pinUntil: "2027-01-31" };
  const text =
    /stable and more stable; only deb, oci; versions >=1\.0\.0; until 2027-11-01T23:59:59\.999Z, then nothing; nothing newer than 1\.4\.0 until 2027-01-31T23/;
  assert.match(await run("grant set", ["acme"], limits), text);
  assert.match(await run("grant show", ["acme"]), text);
  const lifted = { channel: "any", formats: "any", versions: "any", until: "never", unpin: true };
  assert.match(await run("grant set", ["acme"], lifted), /acme reads of coequal: everything/);
  assert.match(await run("grant list", []), /acme +coequal +everything/);
  assert.match(await refused("grant set", ["acme"], { pinUntil: "2027-01-31" }), /^usage: --pin-until needs --pin/);
  assert.match(await refused("grant set", ["acme"], { until: "soon" }), /^usage/);
  assert.match(await refused("grant set", ["acme"], { pin: "1.4.9" }), /^not_found: coequal 1\.4\.9 is not published - did you mean "1\.4\.0"\?/);
  assert.match(await refused("grant set", ["acme"], { allowFuture: true }), /^usage: --allow-future needs --pin/);
  assert.match(await run("grant set", ["acme"], { pin: "9.0.0", allowFuture: true }), /nothing newer than 9\.0\.0/);
  assert.match(await run("grant set", ["acme"], { pin: "any" }), /acme reads of coequal: everything/);
  assert.match(
    await refused("webhook add", ["https://hooks.invalid/x"], { events: "advisory,retirment" }),
    /^usage: --events retirment is .* - did you mean "retirement"\?/,
  );

  assert.match(await run("repository-key rotate", []), /outgoing [^]*incoming [^]*signed anew: coequal[^]*then run: slipway repository-key finish/);
  assert.match(await refused("repository-key rotate", []), /^conflict: .*taking over already/);
  assert.match(await refused("repository-key finish", []), /^conflict: both keys have signed for 0 days only/);
  assert.match(await run("repository-key finish", [], { force: true }), /retired [^]*current [^]*the new key signs alone/);
  assert.match(await refused("repository-key finish", []), /^conflict: no key is taking over/);

  assert.match(await run("grant remove", ["acme"]), /reads nothing of coequal/);
  assert.match(await refused("grant show", ["acme"]), /^not_found/);

  assert.match(await run("key restrict", [pair.id], { from: "203.0.113.0/24,2001:db8::/32" }), /from 203\.0\.113\.0\/24, 2001:db8::\/32/);
  assert.match(await run("key restrict", [pair.id], { anywhere: true }), /may be used from anywhere/);
  assert.match(await refused("key restrict", [pair.id]), /^usage/);
  await run("key rotate", [pair.id]);
  assert.match(await refused("key rotate", [pair.id]), /^conflict: .*old secret works until/);
  assert.match(await run("key rotate", [pair.id], { force: true }), /new secret/);

  assert.match(
    await run("product retention", [], { keep: "1", announce: "30", automatic: "on" }),
    /newest 1 versions[^]*announced 30 days before[^]*by itself/,
  );
  assert.match(await run("release retain", [], { plan: true }), /leaves: nothing/);
});

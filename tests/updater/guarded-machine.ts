/** A customer's machine with a running systemd, a toy service installed by the updater, and the guard; used by guard.test.ts and guard.slow.ts. */
import assert from "node:assert/strict";
import { resolve } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type BootedRoot, withBootedRoot } from "../support/booted-root.ts";
import { type FileOf, pair, startVendor, type Vendor } from "./support.ts";

const checkout = resolve(import.meta.dirname, "../..");

export type Behaviour = "good" | "crashes" | "foreign" | "hangs" | "dies" | "lies";

/** How long a version that dies lives: past the moment in which it is healthy for the first time. */
export const lifeSeconds = 20;

const bodies: Readonly<Record<Behaviour, (version: string) => string>> = {
  good: (version) => `echo ${version} > /run/toy.version\nexec sleep infinity`,
  crashes: () => "exit 1",
  foreign: () => "", // a program of another machine: see daemon
  hangs: () => "exec sleep infinity",
  dies: (version) => `echo ${version} > /run/toy.version\nsleep ${lifeSeconds}\nexit 1`,
  lies: () => "echo 0.0.1 > /run/toy.version\nexec sleep infinity",
};

const daemon = (version: string, behaviour: Behaviour): FileOf => ({
  "bin/toyd": { content: behaviour === "foreign" ? `\x7fELF ${version}` : `#!/bin/sh\n# ${version}\n${bodies[behaviour](version)}\n`, mode: 0o755 },
});

const unit = `[Unit]
Description=Toy
[Service]
ExecStart=/opt/toy/current/bin/toyd
ExecStopPost=/bin/rm -f /run/toy.version
Restart=on-failure
RestartSec=200ms
[Install]
WantedBy=multi-user.target
`;

export type GuardedMachine = {
  readonly root: BootedRoot;
  readonly vendor: Vendor;
  readonly release: (version: string, behaviour: Behaviour) => Promise<void>;
  /** `slipway …`; exit code and output. */
  readonly slipway: (words: string) => Promise<{ readonly code: number | null; readonly text: string }>;
  /** Starts an upgrade that goes on by itself, and returns when its journal stands at `step`. */
  readonly installUntil: (step: string) => Promise<void>;
  /** What the active service says; "" where it is not active. */
  readonly running: () => Promise<string>;
  readonly journal: () => Promise<{
    readonly id: string;
    readonly phase: string;
    readonly step?: string;
    readonly rolledBack: boolean;
    readonly trial?: { readonly triesLeft: number };
  }>;
  /** Waits until `is` holds, at most two minutes. */
  readonly until: (what: string, is: () => Promise<boolean>) => Promise<void>;
};

const updates = "/var/lib/toy/updates";

/** Boots a machine with 1.4.2 installed and running and the guard in place. */
export async function withGuardedMachine(
  t: TestContext,
  options: {
    readonly guard: string;
    readonly bakeSeconds: number;
    /** Until a version must be healthy: as long as a loaded machine needs for a good one, short where a bad one is waited for. */
    readonly deadlineSeconds?: number;
  },
  fn: (machine: GuardedMachine) => Promise<void>,
): Promise<void> {
  const vendor = await startVendor(t);
  const release = async (version: string, behaviour: Behaviour): Promise<void> => void (await vendor.release(version, { files: daemon(version, behaviour) }));
  await release("1.4.2", "good");
  const installation = `product: toy
root: /opt/toy
target: linux/amd64
source: { url: "${vendor.url}", key_id: ${pair.keyId}, secret: "file:/etc/toy-secret" }
trust: { minisign: ["${vendor.publicKey}"] }
service: { systemd: toy.service, timeout_seconds: 20 }
health:
  deadline_seconds: ${options.deadlineSeconds ?? 5}
  interval_seconds: 0.2
  consecutive: 2
  bake_seconds: ${options.bakeSeconds}
  tries: 3
  checks: [{ command: { argv: [sh, -c, "systemctl is-active -q toy && cat /run/toy.version"], version: "[0-9].*" } }]
`;
  const run = async (root: BootedRoot): Promise<void> => {
    const slipway: GuardedMachine["slipway"] = async (words) => {
      const { exitCode, stdout, stderr } = await root.run(`/slipway/bin/slipway ${words} --installation /etc/toy.yaml --json`);
      return { code: exitCode, text: `${stdout}\n${stderr}` };
    };
    const until: GuardedMachine["until"] = async (what, is) => {
      const deadline = Date.now() + 120_000;
      while (!(await is())) {
        if (Date.now() > deadline) {
          const log = await root.run(`journalctl -u 'toy*' --no-pager | tail -40; cat ${updates}/transaction.json; systemctl status 'toy*' --no-pager`);
          assert.fail(`${what}: not within two minutes\n${log.stdout}`);
        }
        await sleep(200);
      }
    };
    const journal: GuardedMachine["journal"] = async () =>
      JSON.parse(await root.require(`cat ${updates}/transaction.json`)) as Awaited<ReturnType<GuardedMachine["journal"]>>;
    await root.require(
      `cat > /etc/systemd/system/toy.service <<'END'\n${unit}END\ncat > /etc/toy.yaml <<'END'\n${installation}END\nprintf %s ${pair.secret} > /etc/toy-secret; systemctl enable -q toy.service`,
    );
    const first = await slipway("upgrade install");
    assert.equal(first.code, 0, first.text);
    const guard = await slipway(`guard install ${options.guard}`);
    assert.equal(guard.code, 0, guard.text);
    const verdict = await root.run("systemd-analyze verify toy.service toy-rollback.service");
    assert.equal(verdict.exitCode, 0, verdict.stderr);
    const machine: GuardedMachine = {
      root,
      vendor,
      release,
      slipway,
      until,
      journal,
      installUntil: async (step) => {
        const before = await root.require(`cat ${updates}/transaction.json`);
        await root.require("systemd-run -q --unit=upgrade /slipway/bin/slipway upgrade install --installation /etc/toy.yaml");
        await until(`an upgrade at ${step}`, async () => {
          const { stdout } = await root.run(`cat ${updates}/transaction.json`);
          return stdout.trim() !== before && stdout.includes('"phase": "applying"') && stdout.includes(`"step": "${step}"`);
        });
      },
      running: async () => (await root.run("systemctl is-active -q toy && cat /run/toy.version")).stdout.trim(),
    };
    await fn(machine);
  };
  await withBootedRoot(t, checkout, run, { readOnly: { [checkout]: "/slipway" }, hasHostNetwork: true });
}

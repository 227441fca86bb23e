/**
 * Slipway ships and upgrades itself: its own recipe builds its executable into a deb, its own server serves that, and on a booted machine the
 * installed slipway brings itself to the next version, and back from one that lies or crashes, also when nobody is left but the guard.
 */
import assert from "node:assert/strict";
import { copyFile, mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { requireCommand, runCommand } from "../../src/io/command.ts";
import { formatApkSecretKey, generateApkKey } from "../../src/trust/apk-signature.ts";
import { formatMinisignPublicKey, formatMinisignSecretKey, generateMinisignKey } from "../../src/trust/minisign-key.ts";
import { generateOpenpgpKey } from "../../src/trust/openpgp.ts";
import { issuePair, type RunningServer, startServer } from "../server/running-server.ts";
import { type BootedRoot, withBootedRoot } from "../support/booted-root.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { freePort, runSlipway } from "../support/vendor.ts";

const checkout = resolve(import.meta.dirname, "../..");
const minisign = generateMinisignKey();
const publicKey = formatMinisignPublicKey(minisign).trim().split("\n").at(-1) ?? "";

let folder: string;
let running: RunningServer;
let env: Record<string, string>;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "slipway-self-"));
  running = await startServer();
  const openpgp = await generateOpenpgpKey({ algorithm: "ed25519", userId: "Slipway Test <release@slipway.example>", now: new Date("2026-01-01T00:00:00Z") });
  env = {
    HOME: process.env["HOME"] ?? folder, // the runtimes' cache
    SOURCE_DATE_EPOCH: "1767225600",
    SLIPWAY_SERVER: running.url,
    SLIPWAY_TOKEN_FILE: join(running.dataDir, "admin-token"),
    SLIPWAY_OPENPGP_KEY: openpgp.secretKey,
    SLIPWAY_MINISIGN_KEY: await formatMinisignSecretKey(minisign),
    SLIPWAY_APK_KEY: formatApkSecretKey(await generateApkKey()),
  };
});

after(async () => {
  await running.stop();
  await rm(folder, { recursive: true, force: true });
});

async function slipway(words: readonly string[], cwd = checkout): Promise<void> {
  const { exitCode, stdout, stderr } = await runSlipway(words, { cwd, env });
  assert.equal(exitCode, 0, `slipway ${words.join(" ")}\n${stdout}\n${stderr}`);
}

/** dist/0.1.0 of our own recipe as it stands: deb and rpm. */
let first: Promise<string> | undefined;
function firstRelease(): Promise<string> {
  first ??= (async () => {
    const out = join(folder, "first");
    await slipway(["build", "--version", "0.1.0", "--target", "linux/amd64", "--only", "deb,rpm", "--out", out]);
    return join(out, "0.1.0");
  })();
  return first;
}

/** The executable of a version, made once: the first one is in the deb. */
async function executable(version: "0.1.0" | "0.2.0"): Promise<string> {
  const place = join(folder, "executables", version);
  const path = version === "0.1.0" ? join(place, "usr/bin/slipway") : join(place, "slipway");
  if ((await stat(path).catch(() => undefined)) !== undefined) return path;
  await mkdir(place, { recursive: true });
  const argv =
    version === "0.1.0"
      ? ["dpkg-deb", "-x", join(await firstRelease(), "slipway_0.1.0_amd64.deb"), place]
      : [process.execPath, join(checkout, "executables/build.ts"), "--target", "linux/amd64", "--version", version, "--output", path];
  await requireCommand(argv, { timeoutMs: 15 * 60_000, cwd: checkout });
  return path;
}

/** Publishes a version made of this program, by our own recipe in all but the build command; `slipway-pair` has it under two names. */
async function release(wish: {
  readonly product: "slipway" | "slipway-pair";
  readonly version: string;
  readonly program: string;
  readonly only: "deb" | "archive";
}): Promise<void> {
  const { product, version, program, only } = wish;
  const recipe = await readFile(join(checkout, "slipway.yaml"), "utf8");
  const place = join(folder, "recipes", product, version);
  await mkdir(place, { recursive: true });
  for (const name of ["LICENSE", "README.md", "CHANGELOG.md"]) await copyFile(join(checkout, name), join(place, name));
  const names = product === "slipway" ? "slipway" : "slipway, slipwayd";
  const changed = recipe
    .replace(/^name: .*$/m, `name: ${product}`)
    .replace(/^ {2}run: .*\n {2}binaries: .*\n {2}outputs: .*$/m, `  run: cp ${program} {out}\n  binaries: [${names}]`)
    .replace(/^ {4}\/usr\/share\/.*\n/gm, "");
  assert.ok(changed.includes(`cp ${program}`) && changed.includes(`[${names}]`), "our recipe looks otherwise");
  await writeFile(join(place, "slipway.yaml"), changed);
  await slipway(["build", "--version", version, "--target", "linux/amd64", "--only", only], place);
  await publish(product, join(place, "dist", version));
}

async function publish(product: string, built: string): Promise<void> {
  await slipway(["publish", built]);
  await slipway(["release", "publish", `v${basename(built)}`, "--product", product]);
}

const journalPath = "/var/lib/slipway/updates/transaction.json";
const upgrade = "slipway upgrade install --installation /etc/slipway-self.yaml --json";

/** What is installed, what runs, and whether dpkg is content. */
async function present(root: BootedRoot, port: number): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}/healthz`).then(
    (response) => response.json() as Promise<{ version: string }>,
    () => ({ version: "nothing" }),
  );
  return `${await root.require("slipway --version; dpkg-query -W -f '${db:Status-Abbrev}${Version}\\n' slipway; dpkg --audit")}\n${answer.version}`;
}
const whole = (version: string): string => `${version}\nii ${version}\n${version}`;

async function until(root: BootedRoot, what: string, is: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 120_000;
  while (!(await is().catch(() => false))) {
    if (Date.now() > deadline) assert.fail(`${what}: not within two minutes\n${(await root.run(`journalctl --no-pager -n 60; cat ${journalPath}`)).stdout}`);
    await sleep(500);
  }
}

test("K8 J9 slipway, installed by its own deb, upgrades itself, and comes back from a version that lies, and from one that crashes when its updater is killed", async (t) => {
  if (!needClient(t, "rpm", "dpkg-deb") || !needRoot(t, "a booted container")) return;
  const packages = await firstRelease();
  const files = await requireCommand(["rpm", "-qpl", join(packages, "slipway-0.1.0-1.x86_64.rpm")], { timeoutMs: 120_000 });
  assert.match(files, /^\/usr\/bin\/slipway$/m);
  await publish("slipway", packages);
  const product = "slipway";
  const good = await executable("0.2.0");
  await release({ product, version: "0.2.0", program: good, only: "deb" });
  const port = await freePort();
  await onMachine(t, { packages, port }, async (root) => {
    assert.equal(await present(root, port), whole("0.1.0"));
    const forward = await root.run(upgrade);
    assert.equal(forward.exitCode, 0, forward.stdout + forward.stderr);
    assert.equal(await present(root, port), whole("0.2.0"));
    assert.equal(await root.require("/var/lib/slipway/updates/guard/slipway --version"), "0.1.0", "the guard's copy is what led the upgrade");

    await release({ product, version: "0.2.1", program: await executable("0.1.0"), only: "deb" });
    const lie = await root.run(upgrade);
    assert.equal(lie.exitCode, 40, lie.stdout + lie.stderr);
    assert.equal(await present(root, port), whole("0.2.0"));

    const broken = join(folder, "broken");
    await copyFile(good, broken);
    await truncate(broken, 60 * 1024 * 1024);
    await release({ product, version: "0.2.2", program: broken, only: "deb" });
    await root.require(`systemd-run -q --unit=upgrade ${upgrade}`);
    await until(root, "the trial of a version that crashes", async () => (await root.require(`cat ${journalPath}`)).includes('"step": "trial"'));
    await root.require("systemctl kill -s KILL upgrade.service");
    assert.notEqual((await root.run("slipway --version")).exitCode, 0, "the program on the live path is the broken one");
    await until(root, "the guard's copy goes back", async () => (await present(root, port)) === whole("0.2.0"));
    await until(root, "it is on record", async () => (await root.require(`cat ${journalPath}`)).includes('"phase": "failed"'));
    const journal = JSON.parse(await root.require(`cat ${journalPath}`)) as { phase: string; rolledBack: boolean };
    assert.deepEqual([journal.phase, journal.rolledBack], ["failed", true]);
    assert.match(await root.require(`${upgrade} || true`), /"reason":"up_to_date"|blocked/, "the versions that failed are not tried again");
  });
});

/** A machine with slipway's deb installed, slipway's server as its service, and the guard. */
async function onMachine(
  t: TestContext,
  options: { readonly packages: string; readonly port: number },
  fn: (root: BootedRoot) => Promise<void>,
): Promise<void> {
  const { packages, port } = options;
  const pair = await issuePair(running, "acme", "slipway");
  const unit = `[Service]\nExecStart=/usr/bin/slipway serve --data-dir /var/lib/slipway-server --listen 127.0.0.1:${port}\nRestart=on-failure\nRestartSec=200ms\n[Install]\nWantedBy=multi-user.target\n`;
  const installation = `product: slipway
strategy: auto
state_dir: /var/lib/slipway
target: linux/amd64
source: { url: "${running.url}", key_id: ${pair.id}, secret: "file:/etc/slipway-secret" }
trust: { minisign: ["${publicKey}"] }
service: { systemd: slipway-server.service, timeout_seconds: 30 }
health:
  deadline_seconds: 20
  interval_seconds: 0.5
  consecutive: 2
  bake_seconds: 1
  tries: 2
  checks:
    - { command: { argv: [/usr/bin/slipway, --version], version: "[0-9].*" } }
    - { http: { url: "http://127.0.0.1:${port}/healthz", version: { json: version } } }
`;
  const run = async (root: BootedRoot): Promise<void> => {
    await root.require(
      `dpkg -i /packages/slipway_0.1.0_amd64.deb
cat > /etc/systemd/system/slipway-server.service <<'END'\n${unit}END\ncat > /etc/slipway-self.yaml <<'END'\n${installation}END\nprintf %s ${pair.secret} > /etc/slipway-secret
chmod 600 /etc/slipway-secret; systemctl enable -q --now slipway-server.service; slipway guard install --systemd --installation /etc/slipway-self.yaml`,
    );
    assert.match(
      await root.require("systemctl cat slipway-server.service slipway-server-rollback.service"),
      /ExecStart.*\/var\/lib\/slipway\/updates\/guard\/slipway/,
    );
    await until(root, "the server answers", async () => (await present(root, port)) === whole("0.1.0"));
    await fn(root);
  };
  await withBootedRoot(t, packages, run, { hasHostNetwork: true });
}

test("J9 several executables in place at once: the one that leads the upgrade is replaced under its own feet, and back from one that lies; capabilities stay", async (t) => {
  if (!needClient(t, "setcap", "getcap") || !needRoot(t, "capabilities")) return;
  const product = "slipway-pair";
  const place = join(folder, "opt");
  const installation = join(folder, "pair.yaml");
  await release({ product, version: "0.1.0", program: await executable("0.1.0"), only: "archive" });
  const { id, secret } = await issuePair(running, "pairs", product);
  await writeFile(join(folder, "pair-secret"), secret, { mode: 0o600 });
  await writeFile(
    installation,
    `product: ${product}
strategy: inplace
root: opt
state_dir: var
target: linux/amd64
source: { url: "${running.url}", key_id: ${id}, secret: "file:pair-secret" }
trust: { minisign: ["${publicKey}"] }
health: { deadline_seconds: 10, interval_seconds: 0.2, consecutive: 1, bake_seconds: 0, tries: 1, checks: [{ command: { argv: [${place}/slipwayd, --version], version: "[0-9].*" } }] }
`,
  );
  const say = async (argv: readonly string[]): Promise<string> => (await requireCommand(argv, { timeoutMs: 120_000 })).trim();
  const versions = async (): Promise<readonly string[]> => [
    await say([join(place, "slipway"), "--version"]),
    await say([join(place, "slipwayd"), "--version"]),
  ];
  const install = (program: string) => runCommand([program, "upgrade", "install", "--installation", installation, "--json"], { timeoutMs: 180_000 });
  const begun = await install(await executable("0.1.0"));
  assert.equal(begun.exitCode, 0, begun.stdout + begun.stderr);
  assert.deepEqual(await versions(), ["0.1.0", "0.1.0"]);
  await say(["setcap", "cap_net_bind_service+ep", join(place, "slipwayd")]);

  await release({ product, version: "0.2.0", program: await executable("0.2.0"), only: "archive" });
  const good = await install(join(place, "slipway"));
  assert.equal(good.exitCode, 0, good.stdout + good.stderr);
  await release({ product, version: "0.2.1", program: await executable("0.1.0"), only: "archive" });
  const lie = await install(join(place, "slipway"));
  assert.equal(lie.exitCode, 40, lie.stdout + lie.stderr);
  assert.deepEqual(await versions(), ["0.2.0", "0.2.0"]);
  assert.match(await say(["getcap", join(place, "slipwayd")]), /cap_net_bind_service=ep/);
});

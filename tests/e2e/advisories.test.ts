/** An advisory on its way from the vendor's file to a customer's dnf; and the set-up text pasted as printed into the customers' tools. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { withAptRoot } from "../support/apt-root.ts";
import { needClient } from "../support/clients.ts";
import { withDnfRoot } from "../support/dnf-root.ts";
import { createVendor, type Vendor } from "../support/vendor.ts";
import { withZypperRoot } from "../support/zypper-root.ts";

const advisory = `id: ACME-2026-001
product: acme
title: Session tokens are predictable
severity: high
cves: [CVE-2026-12345]
affected: "<1.4.2"
fixed_in: 1.4.2
text: An attacker may guess the token of a session.
`;

async function servingVendor(t: TestContext): Promise<Vendor> {
  const vendor = await createVendor(t);
  await vendor.makeKeys();
  await vendor.serve();
  await vendor.release("1.4.1");
  return vendor;
}

/** What `slipway key setup` prints for this client: the line that asks for the secret, and the block. */
async function setUpText(vendor: Vendor, keyId: string, client: string): Promise<{ readonly ask: string; readonly text: string }> {
  const setup = (await vendor.result(["key", "setup", keyId, "--for", client])) as { ask: string; blocks: { text: string }[] };
  return { ask: setup.ask, text: setup.blocks[0]?.text ?? "" };
}

/** One vendor for all of them: its server and its keys take longer than what is tested. */
test("advisories and set-up text with the customers' own tools", async (t) => {
  if (!needClient(t, "dnf", "rpm", "mmdebstrap", "dpkg-deb", "curl", "skopeo", "script")) return;
  const vendor = await servingVendor(t);
  const pair = await vendor.pair("acme-corp");
  await t.test("the set-up text of apt works pasted as printed, with the secret in a file of root's alone", (inner) => pasteApt(inner, vendor, pair));
  await t.test("the set-up text of zypper makes a repository that zypper refreshes and looks into", (inner) => pasteZypper(inner, vendor, pair));
  await t.test("the line that asks for the secret, and the blocks of curl and skopeo, work in a shell", (inner) => pasteCurl(inner, vendor, pair));
  await t.test("C17 dnf lists the advisory, upgrades because of it, and the customer is known as affected until then", (inner) => secureDnf(inner, vendor));
});

type Pair = Awaited<ReturnType<Vendor["pair"]>>;

async function secureDnf(t: TestContext, vendor: Vendor): Promise<void> {
  await withDnfRoot(t, async (dnf) => {
    const pair = await vendor.pair("borea");
    const must = async (...args: readonly string[]): Promise<string> => {
      const end = await dnf.run(args);
      assert.equal(end.exitCode, 0, `dnf ${args.join(" ")}\n${end.stdout}\n${end.stderr}`);
      return end.stdout;
    };
    // The block is pasted as printed; `sudo` puts its files into the root instead of this machine, and dnf runs there below.
    const { text } = await setUpText(vendor, pair.id, "dnf");
    const bin = join(vendor.folder, "bin");
    await mkdir(bin);
    await writeFile(join(bin, "sudo"), `#!/bin/sh\n[ "$1" != install ] || exec /usr/bin/install -D -m "$4" /dev/stdin "${dnf.path}$6"\n`, { mode: 0o755 });
    const pasted = await runCommand(["sh", "-euc", text], { timeoutMs: 20_000, env: { PATH: `${bin}:/usr/bin:/bin`, SLIPWAY_SECRET: pair.secret } });
    assert.equal(pasted.exitCode, 0, pasted.stderr);
    await dnf.writeRepo(await readFile(join(dnf.path, "etc/yum.repos.d/acme.repo"), "utf8"));
    await must("install", "acme");
    assert.match((await dnf.rpm(["-q", "acme"])).stdout, /acme-1\.4\.1-1/);

    const file = join(vendor.folder, "ACME-2026-001.yaml");
    await writeFile(file, advisory);
    const early = await vendor.run(["advisory", "publish", file, "--json"]);
    assert.equal(early.exitCode, 24, "the fix is not published yet");
    assert.match(early.stdout + early.stderr, /the fix acme 1\.4\.2 is not there/);
    await vendor.release("1.4.2");
    const published = await vendor.result(["advisory", "publish", file]);
    assert.deepEqual([published["outcome"], published["told"]], ["published", ["acme-corp", "borea"]]);

    const listed = await must("--refresh", "updateinfo", "list", "--security");
    assert.match(listed, /^ACME-2026-001 Important\/Sec\. acme-1\.4\.2-1\.x86_64$/m);
    const shown = await must("updateinfo", "info", "--security");
    assert.match(shown, /CVE-2026-12345/);
    assert.match(shown, /An attacker may guess the token of a session\./);
    // A newer release that fixes nothing: --security takes the fix alone.
    await vendor.release("1.4.3");
    assert.match(await must("--refresh", "updateinfo", "list", "--cve", "CVE-2026-12345"), /acme-1\.4\.2-1/);
    await must("upgrade-minimal", "--advisory", "ACME-2026-001");
    assert.match((await dnf.rpm(["-q", "acme"])).stdout, /acme-1\.4\.2-1/);
    assert.doesNotMatch(await must("updateinfo", "list", "--security"), /ACME-2026-001/);
    await must("upgrade", "--security");
    assert.match((await dnf.rpm(["-q", "acme"])).stdout, /acme-1\.4\.2-1/, "nothing more to secure");

    const affected = (await vendor.result(["advisory", "affected", "ACME-2026-001"])) as { customers: { customer: string; hasFix: boolean }[] };
    assert.deepEqual(
      affected.customers.map(({ customer, hasFix }) => [customer, hasFix]),
      [
        ["acme-corp", false],
        ["borea", true],
      ],
    );
    await vendor.result(["advisory", "withdraw", "ACME-2026-001", "--reason", "cannot be exploited"]);
    assert.doesNotMatch(await must("--refresh", "updateinfo", "list", "--security", "--all"), /ACME-2026-001/);
  });
}

/** The root has no /dev and no /proc, and so no /dev/stdin. */
const sudo = '#!/bin/sh\n[ "$1" = install ] || exec "$@"\nmkdir -p "${6%/*}" && cat >"$6" && chmod "$4" "$6"\n';

async function pasteApt(t: TestContext, vendor: Vendor, pair: Pair): Promise<void> {
  await withAptRoot(t, async (apt) => {
    const { text } = await setUpText(vendor, pair.id, "apt");
    assert.ok(!text.includes(pair.secret));
    await writeFile(join(apt.path, "usr/local/bin/sudo"), sudo, { mode: 0o755 });
    const end = await apt.command(["env", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", `SLIPWAY_SECRET=${pair.secret}`, "sh", "-euc", text]);
    assert.equal(end.exitCode, 0, end.stdout + end.stderr);
    assert.match((await apt.command(["acme"])).stdout, /acme 1\.4\.1/);
    assert.equal((await apt.command(["stat", "-c", "%a", "/etc/apt/auth.conf.d/acme.conf"])).stdout.trim(), "600");

    // What `slipway key issue` prints: the same with the secret in it, and the key fetched by curl, which is on this side of the root.
    await apt.command(["sh", "-c", "rm -r /etc/apt/auth.conf.d/acme.conf /etc/apt/sources.list.d/acme.sources /var/lib/apt/lists; apt-get purge -y acme"]);
    const issued = (await vendor.result(["key", "issue", "acme-corp", "--product", "acme"])) as { setup: Record<string, string> };
    const bin = join(vendor.folder, "apt-bin");
    await mkdir(bin);
    const into = `#!/bin/sh\ncase $1 in install) exec install -D -m "$4" /dev/stdin "${apt.path}$6" ;; tee) exec tee "${apt.path}$2" ;; esac\nexec chroot "${apt.path}" "$@"\n`;
    await writeFile(join(bin, "sudo"), into, { mode: 0o755 });
    const env = { PATH: `${bin}:/usr/sbin:/usr/bin:/sbin:/bin`, HOME: vendor.folder };
    const pasted = await runCommand(["sh", "-euc", issued.setup["apt (Debian, Ubuntu)"] ?? ""], { timeoutMs: 60_000, env });
    assert.equal(pasted.exitCode, 0, pasted.stdout + pasted.stderr);
    assert.match((await apt.command(["acme"])).stdout, /acme 1\.4\.1/);
  });
}

async function pasteZypper(t: TestContext, vendor: Vendor, pair: Pair): Promise<void> {
  await withZypperRoot(t, async (zypper) => {
    const { text } = await setUpText(vendor, pair.id, "zypper");
    await writeFile(join(zypper.path, "usr/local/bin/sudo"), sudo, { mode: 0o755 });
    // zypper asks for consent on a terminal; there is none here. What it would install runs in the tests of package-managers.test.ts.
    const script = text
      .replace("zypper --gpg", "zypper --non-interactive --gpg")
      .replace("sudo zypper install", "sudo zypper --non-interactive search --details");
    const end = await zypper.command(["env", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", `SLIPWAY_SECRET=${pair.secret}`, "sh", "-euc", script]);
    assert.equal(end.exitCode, 0, end.stdout + end.stderr);
    assert.match(end.stdout, /acme \| package \| 1\.4\.1-1/);
  });
}

async function pasteCurl(t: TestContext, vendor: Vendor, pair: Pair): Promise<void> {
  const home = await mkdtemp(join(tmpdir(), "slipway-setup-"));
  t.after(() => rm(home, { recursive: true, force: true }));
  const { ask, text } = await setUpText(vendor, pair.id, "curl");
  await writeFile(join(home, "asked.sh"), `${ask}\n[ "$SLIPWAY_SECRET" = "${pair.secret}" ] && touch asked\n`);
  // stty and read want a terminal: script(1) gives them one.
  const env = { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: home };
  const typed = await runCommand(["sh", "-c", `{ sleep 0.5; echo '${pair.secret}'; } | script -qec "sh asked.sh" /dev/null`], {
    timeoutMs: 20_000,
    env,
    cwd: home,
  });
  assert.doesNotMatch(typed.stdout.split("secret: ")[1] ?? "", new RegExp(pair.secret), "what is typed is not shown");
  await readFile(join(home, "asked"));
  const fetched = await runCommand(["sh", "-euc", text], { timeoutMs: 20_000, cwd: home, env: { ...env, SLIPWAY_SECRET: pair.secret } });
  assert.equal(fetched.exitCode, 0, fetched.stderr);
  assert.match(await readFile(join(home, "SHA256SUMS"), "utf8"), /acme_1\.4\.1_amd64\.deb/);

  const { text: images } = await setUpText(vendor, pair.id, "skopeo");
  const login = images.slice(0, images.indexOf("skopeo inspect")).replace("skopeo login", "skopeo login --tls-verify=false");
  const authFile = join(home, "auth.json");
  const logged = await runCommand(["sh", "-euc", login], {
    timeoutMs: 20_000,
    cwd: home,
    env: { ...env, REGISTRY_AUTH_FILE: authFile, SLIPWAY_SECRET: pair.secret },
  });
  assert.equal(logged.exitCode, 0, logged.stderr);
  assert.match(logged.stdout, /Login Succeeded/);
}

/** A customer's own apt, dnf and zypper against a real server that a real vendor published to: install, pin, upgrade, purge, and being refused. */
import assert from "node:assert/strict";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { withAptRoot } from "../support/apt-root.ts";
import { needClient } from "../support/clients.ts";
import { parseVersion } from "../../src/model/version.ts";
import { withDnfRoot } from "../support/dnf-root.ts";
import { printingPackage, writeTestRpm } from "../support/test-packages.ts";
import { createVendor, type Vendor } from "../support/vendor.ts";
import { credentialsName, withZypperRoot } from "../support/zypper-root.ts";

async function publishedVendor(t: TestContext): Promise<Vendor> {
  const vendor = await createVendor(t);
  await vendor.makeKeys();
  await vendor.serve();
  await vendor.release("1.4.1");
  return vendor;
}

async function setUpText(vendor: Vendor, pair: { readonly authorization: string }, file: string): Promise<string> {
  const answer = await fetch(`${vendor.url}/setup/acme/${file}`, { headers: { authorization: pair.authorization } });
  assert.equal(answer.status, 200, `/setup/acme/${file}`);
  return answer.text();
}

for (const generation of ["bookworm", "trixie"] as const) {
  test(`C3 C9 apt of ${generation} installs, pins, upgrades and purges with one pair and one deb822 file`, async (t) => {
    if (!needClient(t, "mmdebstrap", "dpkg-deb")) return;
    await withAptRoot(
      t,
      async (apt) => {
        const vendor = await publishedVendor(t);
        const pair = await vendor.pair("acme-corp");
        await apt.writeSource(await setUpText(vendor, pair, "acme.sources"));
        await apt.writeAuth(`machine ${vendor.url}/apt/acme login ${pair.id} password ${pair.secret}\n`);
        const must = async (args: readonly string[]): Promise<string> => {
          const end = await apt.run(args);
          assert.equal(end.exitCode, 0, `apt-get ${args.join(" ")}\n${end.stdout}\n${end.stderr}`);
          return end.stdout + end.stderr;
        };
        const dpkg = (await apt.command(["dpkg", "--version"])).stdout;
        assert.match(dpkg, generation === "bookworm" ? /version 1\.21\./ : /version 1\.22\./);
        await must(["update", "--error-on=any"]);
        await must(["install", "-y", "acme"]);
        assert.match((await apt.command(["acme"])).stdout, /acme 1\.4\.1/);

        // J3: the operator's edit survives the upgrade.
        await appendFile(join(apt.path, "etc/acme/acme.conf"), "level = debug\n");
        await vendor.release("1.4.2");
        await must(["update", "--error-on=any"]);
        await must(["install", "-y", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "acme"]);
        assert.match((await apt.command(["acmed"])).stdout, /acmed 1\.4\.2/);
        assert.match(await readFile(join(apt.path, "etc/acme/acme.conf"), "utf8"), /level = debug/);

        await must(["install", "-y", "--allow-downgrades", "-o", "Dpkg::Options::=--force-confold", "acme=1.4.1"]);
        assert.match((await apt.command(["acme"])).stdout, /acme 1\.4\.1/);
        await must(["purge", "-y", "acme"]);
        assert.notEqual((await apt.command(["test", "-e", "/etc/acme/acme.conf"])).exitCode, 0);

        await vendor.result(["key", "revoke", pair.id]);
        const refused = await apt.run(["update", "--error-on=any"]);
        assert.notEqual(refused.exitCode, 0);
        assert.match(refused.stdout + refused.stderr, /401/);
      },
      { generation },
    );
  });
}

test("J3 dnf installs and upgrades with gpgcheck and repo_gpgcheck, keeps the operator's edit, and is refused once revoked", async (t) => {
  if (!needClient(t, "dnf", "rpm")) return;
  await withDnfRoot(t, async (dnf) => {
    const vendor = await publishedVendor(t);
    const pair = await vendor.pair("acme-corp");
    const repo = await setUpText(vendor, pair, "acme.repo");
    assert.match(repo, /^gpgcheck=1$/m);
    assert.match(repo, /^repo_gpgcheck=1$/m);
    await dnf.writeRepo(`${repo.trim().replaceAll(/^(username|password)=.*\n?/gm, "")}\nusername=${pair.id}\npassword=${pair.secret}\n`);
    const must = async (args: readonly string[]): Promise<void> => {
      const end = await dnf.run(args);
      assert.equal(end.exitCode, 0, `dnf ${args.join(" ")}\n${end.stdout}\n${end.stderr}`);
    };
    await must(["install", "acme-1.4.1"]);
    assert.match((await dnf.rpm(["-q", "acme"])).stdout, /^acme-1\.4\.1-1\.x86_64$/m);
    await appendFile(join(dnf.path, "etc/acme/acme.conf"), "level = debug\n");
    await vendor.release("1.4.2");
    await must(["--refresh", "upgrade"]);
    assert.match((await dnf.rpm(["-q", "acme"])).stdout, /^acme-1\.4\.2-1\.x86_64$/m);
    assert.match((await dnf.rpm(["--version"])).stdout, /version 4\.1[6-9]\./);
    assert.match(await readFile(join(dnf.path, "etc/acme/acme.conf"), "utf8"), /level = debug/);
    assert.match(await readFile(join(dnf.path, "etc/acme/acme.conf.rpmnew"), "utf8"), /acme 1\.4\.2/);

    await vendor.result(["key", "revoke", pair.id]);
    const refused = await dnf.run(["--refresh", "reinstall", "acme"]);
    assert.notEqual(refused.exitCode, 0);
    assert.match(refused.stdout + refused.stderr, /401/);
  });
});

test("J3 zypper on rpm 4.20 installs, upgrades and removes with every signature checked, keeps the operator's edit, and is refused once revoked", async (t) => {
  await withZypperRoot(t, async (zypper) => {
    assert.match((await zypper.command(["rpm", "--version"])).stdout, /version 4\.20\./);
    const vendor = await publishedVendor(t);
    const pair = await vendor.pair("acme-corp");
    const repo = (await setUpText(vendor, pair, "acme.repo")).trim().replaceAll(/^(username|password)=.*\n?/gm, "");
    assert.match(repo, /^gpgcheck=1$/m);
    assert.match(repo, /^repo_gpgcheck=1$/m);
    await zypper.writeRepo(`${repo.replace(/^(baseurl=.*)$/m, `$1?credentials=${credentialsName}`)}\npkg_gpgcheck=1\nautorefresh=1\n`, pair);
    const must = async (...args: readonly string[]): Promise<string> => {
      const end = await zypper.run(args);
      assert.equal(end.exitCode, 0, `zypper ${args.join(" ")}\n${end.stdout}\n${end.stderr}`);
      return end.stdout;
    };
    const installed = async (): Promise<string> => (await zypper.rpm(["-q", "acme"])).stdout.trim();
    await must("refresh", "--force");
    await must("install", "--no-recommends", "acme=1.4.1");
    assert.equal(await installed(), "acme-1.4.1-1.x86_64");
    await appendFile(zypper.inside("etc/acme/acme.conf"), "level = debug\n");
    await vendor.release("1.4.2");
    await must("refresh", "--force");
    await must("update", "--no-recommends");
    assert.equal(await installed(), "acme-1.4.2-1.x86_64");
    assert.match(await readFile(zypper.inside("etc/acme/acme.conf"), "utf8"), /level = debug/);
    assert.match(await readFile(zypper.inside("etc/acme/acme.conf.rpmnew"), "utf8"), /acme 1\.4\.2/);
    await must("remove", "acme");
    assert.equal((await zypper.rpm(["-q", "acme"])).exitCode, 1);
    await assert.rejects(readFile(zypper.inside("usr/bin/acme")), { code: "ENOENT" });

    // rpm itself, told to install nothing without a good signature and good digests.
    const strict = ["--define", "_pkgverify_level all"];
    const file = join(vendor.folder, "dist/1.4.2/acme-1.4.2-1.x86_64.rpm");
    const signed = await readFile(file);
    const damaged = Buffer.from(signed);
    damaged[damaged.length - 20] = (damaged[damaged.length - 20] ?? 0) ^ 1;
    await writeFile(join(zypper.path, "signed.rpm"), signed);
    await writeFile(join(zypper.path, "damaged.rpm"), damaged);
    await writeFile(join(zypper.path, "unsigned.rpm"), await writeTestRpm(printingPackage("unsigned", parseVersion("1.0.0"))));
    for (const [name, why] of [
      ["damaged", /digest|BAD/i],
      ["unsigned", /no signature|not signed/i],
    ] as const) {
      const refused = await zypper.rpm([...strict, "-i", `/${name}.rpm`]);
      assert.notEqual(refused.exitCode, 0, name);
      assert.match(refused.stdout + refused.stderr, why);
    }
    const accepted = await zypper.rpm([...strict, "-i", "/signed.rpm"]);
    assert.equal(accepted.exitCode, 0, accepted.stderr);
    assert.equal(await installed(), "acme-1.4.2-1.x86_64");

    await vendor.result(["key", "revoke", pair.id]);
    const refused = await zypper.run(["refresh", "--force"]);
    assert.notEqual(refused.exitCode, 0);
  });
});

test("C5 C14 J2 downloads verify with gpg, gpgv, minisign, sha256sum and rpmkeys as the source documents print them", async (t) => {
  if (!needClient(t, "gpg", "gpgv", "minisign", "sha256sum", "rpmkeys", "curl")) return;
  const vendor = await publishedVendor(t);
  const pair = await vendor.pair("acme-corp");
  const folder = vendor.folder;
  await writeFile(join(folder, "curlrc"), `user = "${pair.id}:${pair.secret}"\n`, { mode: 0o600 });
  const { requireCommand, runCommand } = await import("../../src/io/command.ts");
  const run = (argv: readonly string[]): Promise<string> =>
    requireCommand(argv, { cwd: folder, timeoutMs: 60_000, env: { PATH: process.env["PATH"] ?? "", HOME: folder, GNUPGHOME: join(folder, "gnupg") } });
  const files = ["SHA256SUMS", "SHA256SUMS.sig", "SHA256SUMS.minisig", "acme_1.4.1_amd64.deb", "acme-1.4.1-1.x86_64.rpm"];
  for (const file of files) await run(["curl", "-sSf", "-K", "curlrc", "-O", `${vendor.url}/releases/acme/latest/${file}`]);
  for (const key of ["acme.asc", "acme.gpg", "acme.minisign.pub"]) await run(["curl", "-sSf", "-O", `${vendor.url}/keys/${key}`]);

  await run(["mkdir", "-m", "700", "gnupg"]);
  await run(["gpg", "--batch", "--import", "acme.asc"]);
  await run(["gpg", "--batch", "--verify", "SHA256SUMS.sig", "SHA256SUMS"]);
  await run(["gpgv", "--keyring", join(folder, "acme.gpg"), "SHA256SUMS.sig", "SHA256SUMS"]);
  await run(["gpgconf", "--kill", "all"]);
  assert.match(await run(["sha256sum", "-c", "SHA256SUMS", "--ignore-missing"]), /acme_1\.4\.1_amd64\.deb: OK/);
  assert.match(await run(["minisign", "-V", "-p", "acme.minisign.pub", "-m", "SHA256SUMS"]), /product:acme version:1\.4\.1/);
  await run(["rpmkeys", "--dbpath", join(folder, "rpmdb"), "--import", "acme.asc"]);
  assert.match(await run(["rpmkeys", "--dbpath", join(folder, "rpmdb"), "--define", "_pkgverify_level all", "-K", "acme-1.4.1-1.x86_64.rpm"]), /signatures OK/);

  const flipped = await readFile(join(folder, "SHA256SUMS"));
  flipped[5] = (flipped[5] ?? 0) ^ 1;
  await writeFile(join(folder, "SHA256SUMS"), flipped);
  const options = { cwd: folder, timeoutMs: 60_000 };
  assert.notEqual((await runCommand(["minisign", "-V", "-p", "acme.minisign.pub", "-m", "SHA256SUMS"], options)).exitCode, 0);
  assert.notEqual((await runCommand(["gpgv", "--keyring", join(folder, "acme.gpg"), "SHA256SUMS.sig", "SHA256SUMS"], options)).exitCode, 0);
});

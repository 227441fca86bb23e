/** dnf 5 on rpm 6 of Debian unstable against a real server: the set-up text as printed, install, upgrade, security updates, and being refused. */
import assert from "node:assert/strict";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { join } from "node:path";
import { withDnf5Root } from "../support/dnf5-root.ts";
import { createVendor } from "../support/vendor.ts";

const advisory = `id: ACME-2026-001
product: acme
title: Says its version to strangers
severity: high
cves: [CVE-2026-12345]
affected: ">=1.4.0 <1.4.2"
fixed_in: 1.4.2
text: |
  Anybody may ask.
`;

test("J3 C8 dnf 5 installs and upgrades with gpgcheck and repo_gpgcheck, keeps the operator's edit, reads advisories, and is refused once revoked", async (t) => {
  await withDnf5Root(t, async (dnf) => {
    assert.match((await dnf.command(["dnf5", "--version"])).stdout, /dnf5 version 5\./);
    const vendor = await createVendor(t);
    await vendor.makeKeys();
    await vendor.serve();
    await vendor.release("1.4.1");
    const pair = await vendor.pair("acme-corp");
    const answer = await fetch(`${vendor.url}/setup/acme/acme.repo`, { headers: { authorization: pair.authorization } });
    const repo = (await answer.text()).trim().replaceAll(/^(username|password)=.*\n?/gm, "");
    await dnf.writeRepo(`${repo}\nusername=${pair.id}\npassword=${pair.secret}\n`);
    const must = async (args: readonly string[]): Promise<string> => {
      const end = await dnf.run(args);
      assert.equal(end.exitCode, 0, `dnf5 ${args.join(" ")}\n${end.stdout}\n${end.stderr}`);
      return end.stdout + end.stderr;
    };
    await must(["install", "acme-1.4.1"]);
    assert.match((await dnf.rpm(["-q", "acme"])).stdout, /^acme-1\.4\.1-1\.x86_64$/m);
    await appendFile(dnf.inside("etc/acme/acme.conf"), "level = debug\n");

    await vendor.release("1.4.2");
    await writeFile(join(vendor.folder, "advisory.yaml"), advisory);
    await vendor.result(["advisory", "publish", "advisory.yaml"]);
    assert.match(await must(["--refresh", "advisory", "list"]), /ACME-2026-001/);
    await must(["upgrade", "--advisories=ACME-2026-001"]);
    assert.match((await dnf.rpm(["-q", "acme"])).stdout, /^acme-1\.4\.2-1\.x86_64$/m);
    assert.match(await readFile(dnf.inside("etc/acme/acme.conf"), "utf8"), /level = debug/);
    assert.match(await readFile(dnf.inside("etc/acme/acme.conf.rpmnew"), "utf8"), /acme 1\.4\.2/);
    await must(["remove", "acme"]);
    assert.equal((await dnf.rpm(["-q", "acme"])).exitCode, 1);

    await vendor.result(["key", "revoke", pair.id]);
    const refused = await dnf.run(["--refresh", "install", "acme"]);
    assert.notEqual(refused.exitCode, 0);
    assert.match(refused.stdout + refused.stderr, /401/);
  });
});

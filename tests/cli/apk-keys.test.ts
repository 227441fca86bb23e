/** apk keys from `slipway keys new` to a signed package, as a release engineer types it. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { verifyApk } from "../formats/apk-verifier.ts";
import { get, startServer } from "../server/running-server.ts";
import { epochSeconds, sampleProduct, sampleRecipe } from "../packaging/fixture.ts";
import { type CommandEnd, runSlipway } from "../support/vendor.ts";

test("C14 an apk key is made, listed and exported under the name that customers need, and a build signs with it", async (t) => {
  const folder = await sampleProduct(
    t,
    sampleRecipe
      .replace("[deb, rpm]", "[apk]")
      .replace("rpm: [/usr/bin/docker]", "apk: [docker]")
      .replace("packages:\n", "sign: { apk: key:release }\npackages:\n"),
  );
  const env = { SLIPWAY_KEYS_DIR: join(folder, "keys"), SLIPWAY_KEY_PASSPHRASE: "correct horse", SOURCE_DATE_EPOCH: String(epochSeconds) };
  const slipway = (...words: readonly string[]): Promise<CommandEnd> => runSlipway(words, { cwd: folder, env });
  const succeed = async (...words: readonly string[]): Promise<CommandEnd> => {
    const end = await slipway(...words);
    assert.equal(end.exitCode, 0, end.stdout + end.stderr);
    return end;
  };
  await succeed("keys", "new", "--type", "apk");
  assert.match(await readFile(join(folder, "keys/release.apk.key"), "utf8"), /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  const [, keyFile = ""] = /^release +apk +(slipway-[0-9a-f]{16}\.rsa\.pub) +rsa4096/m.exec((await succeed("keys", "list")).stdout) ?? [];
  const exported = await succeed("keys", "export", "release");
  assert.match(exported.stderr, new RegExp(`/etc/apk/keys/${keyFile}`));
  const build = ["build", "--version", "1.4.2", "--only", "apk", "--target", "linux/amd64"];
  const printed = await succeed(...build);
  assert.match(printed.stdout, new RegExp(`signed with apk key ${keyFile}`));
  const path = join(folder, "dist/1.4.2/acme_1.4.2_x86_64.apk");
  const signed = await readFile(path);
  assert.deepEqual(verifyApk(signed, { [keyFile]: exported.stdout }).signatures, [`RSA256 ${keyFile}`, `RSA ${keyFile}`]);
  await succeed(...build);
  assert.ok(signed.equals(await readFile(path)), "J1 signed again, it is byte for byte the same");
  await t.test("publishing registers the key, its customers are told of the repository's, and the unsigned build is refused", async () => {
    const running = await startServer();
    t.after(() => running.stop());
    const server = ["--server", running.url, "--token-file", join(running.dataDir, "admin-token")];
    assert.match((await succeed("publish", "dist/1.4.2", ...server)).stderr, /registered release keys of acme: apk/);
    await succeed("release", "publish", "v1.4.2", "--product", "acme", ...server);
    assert.equal(await (await get(running, `/keys/apk/${keyFile}`)).text(), exported.stdout);
    await succeed("customer", "add", "first", ...server);
    const { stdout } = await succeed("key", "issue", "first", "--product", "acme", ...server);
    assert.ok(stdout.includes(`cat > /etc/apk/keys/${running.server.context.repositoryKey.apkKey.keyFile} <<'END'\n-----BEGIN PUBLIC KEY-----`));
    assert.match(stdout, new RegExp(`^echo '${running.url}/apk/acme/stable' > /etc/apk/repositories\\.d/acme-stable\\.list\napk add -U acme$`, "m"));
    await succeed("build", "--version", "1.4.3", "--only", "apk", "--target", "linux/amd64", "--unsigned");
    await succeed("publish", "dist/1.4.3", ...server);
    const refused = await slipway("release", "publish", "v1.4.3", "--product", "acme", ...server);
    assert.equal(refused.exitCode, 20);
    assert.match(refused.stderr, new RegExp(`acme_1\\.4\\.3_x86_64\\.apk: no RSA256 signature by a trusted key.*${keyFile}`, "s"));
  });
  await succeed(...build, "--unsigned");
  verifyApk(await readFile(path), undefined);
});

/** Where settings come from, which source wins, and what is refused. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadSettings, parseSettingsFile } from "../../src/config/load.ts";
import { settingEnvironmentName, settingKeys, settingName, settingTable } from "../../src/config/settings.ts";

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "slipway-config-"));
});
after(() => rm(folder, { recursive: true, force: true }));

test("no setting at all gives working defaults", async () => {
  const settings = await loadSettings({ flags: {}, env: { SLIPWAY_DATA_DIR: join(folder, "none") } });
  assert.deepEqual(settings.listen, { host: "127.0.0.1", port: 8420 });
  assert.equal(settings.databaseUrl, "");
  assert.equal(settings.uploadLimit, 10 * 1024 ** 3);
});

test("a flag wins over the environment, the environment over the file, the file over the default", async () => {
  await writeFile(join(folder, "slipway-server.yaml"), "idle-timeout: 3s\nlog-level: warn\nlisten: 127.0.0.1:1\ntrusted-proxies: [10.0.0.1, 10.0.0.0/8]\n");
  const settings = await loadSettings({ flags: { listen: "[::1]:0", dataDir: folder }, env: { SLIPWAY_IDLE_TIMEOUT: "5s", SLIPWAY_LISTEN: "127.0.0.1:2" } });
  assert.deepEqual(settings.listen, { host: "::1", port: 0 });
  assert.equal(settings.idleTimeout, 5000);
  assert.equal(settings.logLevel, "warn");
  assert.deepEqual(settings.trustedProxies, ["10.0.0.1", "10.0.0.0/8"]);
  assert.equal(settings.stopTimeout, 30_000);
});

test("an unknown key is refused with its place and the nearest name", () => {
  assert.throws(() => parseSettingsFile("listen: :0\nupload-limt: 1GiB\n", "s.yaml"), {
    code: "setting_invalid",
    place: "s.yaml:2:1",
    message: 'unknown setting "upload-limt" - did you mean "upload-limit"?',
  });
});

const badValues: readonly (readonly [string, string])[] = [
  ["listen", "nowhere"],
  ["listen", "127.0.0.1:99999"],
  ["publicUrl", "ftp://x"],
  ["publicUrl", "https://user:word@host"],
  ["uploadLimit", "ten"],
  ["uploadLimit", "10 parsecs"],
  ["idleTimeout", "60"],
  ["stopTimeout", "-1s"],
  ["logLevel", "loud"],
  ["trustedProxies", "my-proxy"],
];
for (const [key, value] of badValues) {
  test(`${key}: ${value} is refused and the message names the flag`, async () => {
    await assert.rejects(loadSettings({ flags: { dataDir: join(folder, "none"), [key]: value }, env: {} }), (error: { code: string; place: string }) => {
      assert.equal(error.code, "setting_invalid");
      assert.match(error.place, /^--/);
      return true;
    });
  });
}

test("broken YAML, a list of lists and the same key twice are refused with their line", () => {
  for (const content of ["listen: [\n", "listen: [[1]]\n", "listen: 1\nlisten: 2\n", "- listen\n"]) {
    assert.throws(() => parseSettingsFile(content, "s.yaml"), { code: "setting_invalid" });
  }
});

test("a secret setting is never read from a flag, its file stands in for it, and its value is never printed", async () => {
  const secretFile = join(folder, "url");
  await writeFile(secretFile, "postgresql://slipway@localhost/slipway\n");
  const env = { SLIPWAY_DATA_DIR: join(folder, "none") };
  assert.equal((await loadSettings({ flags: { databaseUrl: "postgresql://x@y/z" }, env })).databaseUrl, "");
  assert.equal((await loadSettings({ flags: { databaseUrlFile: secretFile }, env })).databaseUrl, "postgresql://slipway@localhost/slipway");
  await assert.rejects(loadSettings({ flags: { databaseUrlFile: secretFile }, env: { ...env, SLIPWAY_DATABASE_URL: "postgresql://a@b/c" } }), {
    code: "setting_invalid",
  });
  await assert.rejects(loadSettings({ flags: {}, env: { ...env, SLIPWAY_DATABASE_URL: "mysql://root:hunter2@x/y" } }), (error: Error) => {
    assert.doesNotMatch(error.message, /hunter2/);
    return true;
  });
});

test("a named settings file that is missing stops the start; the data folder's own is optional and may not move itself", async () => {
  await assert.rejects(loadSettings({ flags: {}, env: {}, configFile: join(folder, "missing.yaml") }), { code: "setting_invalid" });
  const own = await mkdtemp(join(folder, "own-"));
  await writeFile(join(own, "slipway-server.yaml"), "data-dir: /elsewhere\n");
  await assert.rejects(loadSettings({ flags: { dataDir: own }, env: {} }), { code: "setting_invalid" });
});

test("every row has a dashed name, an environment name, a text and a default that its own reader accepts", () => {
  for (const key of settingKeys) {
    assert.match(settingName(key), /^[a-z][a-z-]*$/);
    assert.match(settingEnvironmentName(key), /^SLIPWAY_[A-Z_]+$/);
    assert.ok(settingTable[key].text.length > 10);
    assert.doesNotThrow(() => settingTable[key].read(settingTable[key].default));
  }
});

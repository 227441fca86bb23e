/** The key folder: private, never overwriting, and finding its way by names alone. */
import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { keyFolderPath, listKeys, readKey, storeKey } from "../../src/io/key-folder.ts";
import { readNewPassphrase, readPassphrase } from "../../src/io/passphrase.ts";

async function temporary(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "slipway-keys-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

const release = { name: "release", type: "minisign" } as const;

test("a stored key is listed and read back; the folder is 0700 and its files 0600 whatever the umask", async (t) => {
  const folder = join(await temporary(t), "a", "keys");
  await storeKey(folder, release, { key: "secret", pub: "public" });
  await storeKey(folder, { name: "release", type: "openpgp" }, { key: "secret", pub: "public", rev: "revocation" });
  assert.deepEqual(await listKeys(folder), [release, { name: "release", type: "openpgp" }]);
  assert.equal((await readKey(folder, release, "pub")).toString(), "public");
  assert.equal((await stat(folder)).mode & 0o777, 0o700);
  assert.equal((await stat(join(folder, "release.minisign.key"))).mode & 0o777, 0o600);
});

test("a key is never overwritten, and an absent one is key_missing with the names that are there", async (t) => {
  const folder = join(await temporary(t), "keys");
  assert.deepEqual(await listKeys(folder), []);
  await assert.rejects(readKey(folder, release, "key"), { code: "key_missing" });
  await storeKey(folder, release, { key: "first", pub: "public" });
  await assert.rejects(storeKey(folder, release, { key: "second", pub: "public" }), { code: "key_exists" });
  assert.equal((await readKey(folder, release, "key")).toString(), "first");
  await assert.rejects(readKey(folder, { name: "other", type: "minisign" }, "key"), { code: "key_missing", message: /there are: release/ });
});

test("names that are paths, a linked key, and a folder that others may enter are refused", async (t) => {
  const folder = join(await temporary(t), "keys");
  await storeKey(folder, release, { key: "secret", pub: "public" });
  await assert.rejects(readKey(folder, { name: "../release", type: "minisign" }, "key"), { code: "name_invalid" });
  await symlink("/etc/hostname", join(folder, "linked.minisign.key"));
  await assert.rejects(readKey(folder, { name: "linked", type: "minisign" }, "key"), { code: "ELOOP" });
  await chmod(folder, 0o750);
  await assert.rejects(listKeys(folder), { code: "permission_denied" });
});

test("the folder comes from SLIPWAY_KEYS_DIR, else from the home directory", () => {
  assert.equal(keyFolderPath({ SLIPWAY_KEYS_DIR: "/k" }), "/k");
  assert.equal(keyFolderPath({ HOME: "/home/ann" }), "/home/ann/.config/slipway/keys");
});

test("a passphrase comes from the file's first line, else from the environment, else nobody is asked without a terminal", async (t) => {
  const folder = await temporary(t);
  await mkdir(join(folder, "d"));
  const file = join(folder, "passphrase");
  await writeFile(file, "from the file\nsecond line\n");
  const env = { SLIPWAY_KEY_PASSPHRASE: "from the environment" };
  assert.equal(await readPassphrase({ env, file }, "?"), "from the file");
  assert.equal(await readPassphrase({ env }, "?"), "from the environment");
  assert.equal(await readNewPassphrase({ env }, "?"), "from the environment");
  assert.equal(await readPassphrase({ env: {} }, "?"), undefined);
  await writeFile(file, "\n");
  await assert.rejects(readPassphrase({ env, file }, "?"), { code: "key_locked" });
});

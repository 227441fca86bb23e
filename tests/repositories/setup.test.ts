/** The set-up files as text; real clients read them in apt-client.test.ts and yum-client.test.ts. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { SlipwayError } from "../../src/model/errors.ts";
import { parseVersion } from "../../src/model/version.ts";
import { releaseIndex } from "../../src/repositories/release-index.ts";
import { apkSetup, aptAuth, aptSources, curlLine, netrcLine, type SetupPlace, yumRepo } from "../../src/repositories/setup.ts";

const place: SetupPlace = { baseUrl: "https://packages.coequal.example/", product: "coequal", channel: "stable" };
const key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBGkz\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n";
const pair = { keyId: "SLW-1", secret: "s3cret" };

test("the apt source carries the key inside, blank lines as a dot, and no secret", () => {
  assert.equal(
    aptSources(place, key),
    `# coequal, channel stable. Credentials: /etc/apt/auth.conf.d/coequal.conf
Types: deb
URIs: https://packages.coequal.example/apt/coequal
Suites: stable
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGkz
 =abcd
 -----END PGP PUBLIC KEY BLOCK-----
`,
  );
});

test("credentials for apt name the product's path, and plain http where it is", () => {
  assert.equal(aptAuth(place, pair), "machine packages.coequal.example/apt/coequal login SLW-1 password s3cret\n");
  const plain = { ...place, baseUrl: "http://127.0.0.1:8080" };
  assert.equal(aptAuth(plain, pair), "machine http://127.0.0.1:8080/apt/coequal login SLW-1 password s3cret\n");
});

test("the secret stands only where it was passed, and never in the command line", () => {
  assert.match(yumRepo(place, { keyId: "SLW-1" }), /^password=YOUR-SECRET$/m);
  assert.match(yumRepo(place, pair), /^password=s3cret$/m);
  assert.match(yumRepo(place, pair), /^gpgcheck=1\nrepo_gpgcheck=1\ngpgkey=https:\/\/packages\.coequal\.example\/keys\/coequal\.asc$/m);
  assert.equal(netrcLine(place, pair), "machine packages.coequal.example login SLW-1 password s3cret\n");
  assert.equal(
    curlLine(place, "SHA256SUMS"),
    "curl --fail --location --remote-name --netrc-file ~/.netrc https://packages.coequal.example/releases/coequal/latest/SHA256SUMS",
  );
});

const apkKey = { keyFile: "slipway-0123456789abcdef.rsa.pub", publicText: "-----BEGIN PUBLIC KEY-----\nMIIC+/=\n-----END PUBLIC KEY-----\n" };

test("apk's script sets key, repository and credentials, and run again with a new secret it replaces the old one alone", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "slipway-setup-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, "etc/keys"), { recursive: true });
  await writeFile(join(folder, ".netrc"), "machine other.example login a password b", { mode: 0o644 });
  const run = async (secret: string): Promise<void> => {
    const script = apkSetup(place, { ...pair, secret }, apkKey).replaceAll("/etc/apk", join(folder, "etc"));
    await promisify(execFile)("/bin/sh", ["-eu", "-c", script], { env: { HOME: folder, PATH: process.env["PATH"] ?? "" } });
  };
  await run("old");
  await run("new");
  const netrc = "machine other.example login a password b\nmachine packages.coequal.example login SLW-1 password new\n";
  assert.equal(await readFile(join(folder, ".netrc"), "utf8"), netrc);
  assert.equal((await stat(join(folder, ".netrc"))).mode & 0o777, 0o600);
  assert.equal(await readFile(join(folder, "etc/keys", apkKey.keyFile), "utf8"), apkKey.publicText);
  const list = await readFile(join(folder, "etc/repositories.d/coequal-stable.list"), "utf8");
  assert.equal(list, "https://packages.coequal.example/apk/coequal/stable\n");
});

test("an address or a word that would start another setting is refused", () => {
  const refused = (call: () => string): void => assert.throws(call, SlipwayError);
  for (const baseUrl of ["ftp://x", "https://user:secret@x", "https://x/?q=1", "https://x\nevil=1", "nothing"])
    refused(() => yumRepo({ ...place, baseUrl }, pair));
  refused(() => yumRepo(place, { keyId: "a\nusername=b", secret: "c" }));
  refused(() => aptAuth(place, { keyId: "a b", secret: "c" }));
  refused(() => curlLine(place, "a; rm -rf b"));
  refused(() => aptSources(place, "not a key"));
  refused(() => apkSetup(place, pair, { ...apkKey, keyFile: "../x.rsa.pub" }));
  refused(() => apkSetup(place, pair, { ...apkKey, publicText: "-----BEGIN PUBLIC KEY-----\nEND\nrm -rf /\n-----END PUBLIC KEY-----\n" }));
});

test("C3 the index says what each channel offers; latest follows the newest stable, whenever it was published", () => {
  const release = (version: string, channel: string, sequence: number) => ({
    version: parseVersion(version),
    channels: [channel],
    sequence,
    publishedAt: new Date(Date.UTC(2026, 0, sequence)),
  });
  const releases = [release("0.28.2", "stable", 2), release("0.27.9", "stable", 3), release("0.29.0-rc.1", "preview", 4), release("0.28.1", "stable", 1)];
  const index = releaseIndex("esbuild", releases, [
    { version: parseVersion("0.20.0"), state: "withdrawn", reason: "bad", replacement: parseVersion("0.28.2") },
  ]);
  assert.deepEqual(index.channels, { preview: "0.29.0-rc.1", stable: "0.28.2" });
  assert.deepEqual(
    index.releases.map(({ version }) => version),
    ["0.29.0-rc.1", "0.28.2", "0.28.1", "0.27.9"],
  );
  assert.deepEqual(index.releases[1], {
    version: "0.28.2",
    channel: "stable",
    channels: ["stable"],
    sequence: 2,
    publishedAt: "2026-01-02T00:00:00.000Z",
    state: "published",
  });
  assert.deepEqual(index.supported, ["0.28.2", "0.28.1", "0.27.9"]);
  assert.deepEqual(index.retired, [{ version: "0.20.0", state: "withdrawn", replacement: "0.28.2", reason: "bad" }]);
});

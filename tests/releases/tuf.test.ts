/** A product's TUF metadata from the first ceremony to a customer's clients: the real command, the real server, tuf-js, python-tuf and our own updater. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { Updater } from "tuf-js";
import { sigstoreRootTarget } from "../../src/trust/sigstore-policy.ts";
import { DownloadHTTPError } from "tuf-js/dist/error.js";
import { startSigstore } from "../support/sigstore-instance.ts";
import { acmeProduct, createVendor, type Vendor } from "../support/vendor.ts";

const recipe = `${acmeProduct}archives:
  - name: "{name}-{tag}-{os}-{arch}.tar.gz"
sign:
  minisign: key:updates
  tuf: key:ci
`;

const archive = (version: string): string => `acme/stable/${version}/acme-v${version}-linux-amd64.tar.gz`;
const holders = ["alice", "bob", "carol"] as const;
const rootKeys = holders.map((name) => `key:${name}`).join(",");

/** Keys, a server, and the metadata after the first ceremony. */
async function establish(t: TestContext): Promise<Vendor> {
  const vendor = await createVendor(t, recipe);
  await vendor.result(["keys", "new", "updates", "--type", "minisign", "--no-passphrase"]);
  for (const name of [...holders, "ci", "standby"]) await vendor.result(["keys", "new", name, "--type", "tuf"]);
  await vendor.serve();
  await vendor.result(["tuf", "init", "ceremony", "--root-keys", rootKeys, "--targets-keys", "key:ci,key:standby"]);
  // Alice and Bob sign copies, each without the other's; the release key signs what it is for.
  for (const name of ["alice", "bob"]) {
    await cp(join(vendor.folder, "ceremony"), join(vendor.folder, `from-${name}`), { recursive: true });
    await vendor.result(["tuf", "sign", `from-${name}`, "--key", `key:${name}`]);
  }
  await vendor.result(["tuf", "sign", "ceremony", "--key", "key:ci"]);
  const early = await vendor.run(["tuf", "upload", "ceremony"]);
  assert.equal(early.exitCode, 22, "a ceremony without its root signatures is not uploaded");
  assert.equal((await vendor.result(["tuf", "join", "ceremony", "from-alice", "from-bob"]))["isComplete"], true);
  await vendor.result(["tuf", "upload", "ceremony"]);
  return vendor;
}

type Customer = { readonly authorization: string; readonly id: string; readonly secret: string };

async function exportRoot(vendor: Vendor, repository = "online"): Promise<string> {
  const file = `acme.${repository}.root.json`;
  await vendor.result(["tuf", "export", "--repository", repository, "-o", file]);
  return join(vendor.folder, file);
}

/** tuf-js, asking with the pair. */
async function tufJs(
  vendor: Vendor,
  customer: Customer,
  options: { readonly root: string; readonly folder: string; readonly repository?: string },
): Promise<Updater> {
  const folder = join(vendor.folder, options.folder);
  await mkdir(folder, { recursive: true });
  await cp(options.root, join(folder, "root.json"));
  const base = `${vendor.url}/tuf/acme/${options.repository ?? "online"}`;
  const downloadBytes = async (url: string): Promise<Buffer> => {
    const response = await fetch(url, { headers: { authorization: customer.authorization } });
    if (!response.ok) throw new DownloadHTTPError(url, response.status);
    return Buffer.from(await response.arrayBuffer());
  };
  const fetcher = {
    downloadBytes,
    downloadFile: async <T>(url: string, _limit: number, handler: (file: string) => Promise<T>): Promise<T> => {
      const file = join(folder, "download");
      await writeFile(file, await downloadBytes(url));
      return handler(file);
    },
  };
  return new Updater({ metadataDir: folder, metadataBaseUrl: `${base}/metadata`, targetDir: folder, targetBaseUrl: `${base}/targets`, fetcher });
}

async function downloadWith(updater: Updater, target: string): Promise<Buffer> {
  await updater.refresh();
  const found = await updater.getTargetInfo(target);
  assert.ok(found, `${target} is listed`);
  return readFile(await updater.downloadTarget(found));
}

/** A python that has python-tuf: $SLIPWAY_TUF_PYTHON, else the machine's own. */
async function tufPython(): Promise<string | undefined> {
  const python = process.env["SLIPWAY_TUF_PYTHON"] ?? "python3";
  return promisify(execFile)(python, ["-c", "import tuf.ngclient"]).then(
    () => python,
    () => undefined,
  );
}

test("C15 a vendor with offline root keys publishes; tuf-js, python-tuf and our own updater read the release through the pair", async (t) => {
  const vendor = await establish(t);
  await vendor.release("1.4.2");
  const trustedRoot = (await startSigstore(t)).trustedRoot;
  await writeFile(join(vendor.folder, "trusted_root.json"), trustedRoot);
  await vendor.result(["tuf", "targets", "--key", "key:ci", "--channel", "stable", "--sigstore-trusted-root", "trusted_root.json"]);
  const customer = await vendor.pair("beta");
  const root = await exportRoot(vendor);
  const dist = (version: string): Promise<Buffer> => readFile(join(vendor.folder, "dist", version, `acme-v${version}-linux-amd64.tar.gz`));

  await t.test("tuf-js refreshes and downloads, online and offline", async () => {
    assert.deepEqual(await downloadWith(await tufJs(vendor, customer, { root, folder: "js" }), archive("1.4.2")), await dist("1.4.2"));
    assert.deepEqual(await downloadWith(await tufJs(vendor, customer, { root, folder: "js" }), sigstoreRootTarget), trustedRoot);
    const offline = await exportRoot(vendor, "offline");
    const updater = await tufJs(vendor, customer, { root: offline, folder: "js-offline", repository: "offline" });
    assert.deepEqual(await downloadWith(updater, archive("1.4.2")), await dist("1.4.2"));
    await assert.rejects(
      (await tufJs(vendor, customer, { root, folder: "js-mixed", repository: "offline" })).refresh(),
      "the online root does not know the offline keys",
    );
  });

  await t.test("python-tuf refreshes and downloads", async (sub) => {
    const python = await tufPython();
    if (python === undefined) {
      sub.skip("no python with python-tuf; name one with SLIPWAY_TUF_PYTHON (tests/conformance/tuf/python-client.py says how)");
      return;
    }
    const script = resolve(import.meta.dirname, "../conformance/tuf/python-client.py");
    const folder = join(vendor.folder, "python");
    await mkdir(folder);
    const base = `${vendor.url}/tuf/acme/online`;
    const targets = [archive("1.4.2"), "acme/stable/1.4.2/release.json", sigstoreRootTarget];
    const { stdout } = await promisify(execFile)(python, [script, `${base}/metadata/`, `${base}/targets/`, root, folder, ...targets], {
      env: { ...process.env, TUF_AUTHORIZATION: customer.authorization },
    });
    const file = /^\S+ (.*)$/m.exec(stdout)?.[1] ?? "";
    assert.deepEqual(await readFile(file), await dist("1.4.2"));
  });

  await t.test("strangers see nothing; what was made up is absent", async () => {
    const status = async (path: string, headers: Readonly<Record<string, string>> = { authorization: customer.authorization }): Promise<number> =>
      (await fetch(vendor.url + path, { headers })).status;
    assert.equal(await status("/tuf/acme/online/metadata/timestamp.json", {}), 401);
    assert.equal(await status("/tuf/acme/online/metadata/timestamp.json"), 200);
    for (const path of [
      "/tuf/other/online/metadata/timestamp.json",
      "/tuf/acme/online/metadata/root.json",
      "/tuf/acme/online/metadata/2.root.json",
      "/tuf/acme/online/metadata/1.timestamp.json",
      "/tuf/acme/online/metadata/..%2ftimestamp.json",
      `/tuf/acme/online/targets/acme/stable/1.4.2/${"0".repeat(64)}.release.json`,
      "/tuf/acme/online/targets/acme/stable/1.4.2/release.json",
      `/tuf/acme/online/targets/trust/sigstore/${"0".repeat(64)}.trusted_root.json`,
    ]) {
      assert.equal(await status(path), 404, path);
    }
    assert.equal(await status("/tuf/acme/online/metadata/1.acme-preview.json"), 200);
    await vendor.result(["grant", "set", "beta", "--product", "acme", "--channel", "stable"]);
    assert.equal(await status("/tuf/acme/online/metadata/1.acme-preview.json"), 404, "whoever may not read previews does not learn their names");
    assert.equal(await status("/tuf/acme/online/metadata/1.acme-stable.json"), 200);
  });

  await t.test("our own updater installs by it", async () => {
    const minisign = (await vendor.run(["keys", "export", "updates", "--format", "minisign"])).stdout.trim().split("\n").at(-1) ?? "";
    await writeFile(join(vendor.folder, "secret"), customer.secret, { mode: 0o600 });
    await writeFile(
      join(vendor.folder, "installation.yaml"),
      `product: acme
root: opt
state_dir: var
target: linux/amd64
source: { url: "${vendor.url}", key_id: ${customer.id}, secret: file:secret }
trust: { minisign: [${minisign}], tuf: { root: acme.online.root.json }, require: [tuf, minisign] }
health: { deadline_seconds: 5, consecutive: 1, bake_seconds: 0, checks: [{ command: { argv: [opt/current/acme], version: "[0-9]+[.][0-9.]+" } }] }
`.replace("opt/current/acme", join(vendor.folder, "opt/current/acme")),
    );
    const installed = await vendor.result(["upgrade", "install", "--installation", "installation.yaml"]);
    assert.equal(installed["version"], "1.4.2");
    const kept = JSON.parse(await readFile(join(vendor.folder, "var/updates/trust/online/current/root.json"), "utf8")) as { signed: { version: number } };
    assert.equal(kept.signed.version, 1);
  });

  await t.test("a second release is listed beside the first, and without the key nothing is published", async () => {
    await vendor.result(["publish", await vendor.build("1.5.0")]);
    const draft = await fetch(`${vendor.url}/api/v1/products/acme/releases/1.5.0`, {
      headers: { authorization: `Bearer ${vendor.env["SLIPWAY_TOKEN"] ?? ""}` },
    });
    const { artifacts } = (await draft.json()) as { artifacts: { name: string; digest: string }[] };
    const sums = artifacts.find(({ name }) => name === "SHA256SUMS")?.digest;
    const answer = await fetch(`${vendor.url}/api/v1/products/acme/releases/1.5.0/publish`, {
      method: "POST",
      headers: { authorization: `Bearer ${vendor.env["SLIPWAY_TOKEN"] ?? ""}`, "content-type": "application/json" },
      body: JSON.stringify({ sums }),
    });
    assert.equal(answer.status, 422);
    assert.match(await answer.text(), /release_incomplete/);
    await vendor.result(["release", "publish", "v1.5.0"]);
    for (const version of ["1.5.0", "1.4.2"]) {
      assert.deepEqual(await downloadWith(await tufJs(vendor, customer, { root, folder: "js" }), archive(version)), await dist(version));
    }
  });

  type Change = { readonly channel: string; readonly version: number; readonly added: string[]; readonly dropped: string[]; readonly rollouts: string[] };
  const changesOf = async (words: readonly string[]): Promise<readonly Change[]> => (await vendor.result(["tuf", "targets", ...words]))["changes"] as Change[];

  await t.test("a withdrawn release leaves the list at once, signed with the recipe's key, and the standby key can sign it as well", async () => {
    await vendor.result(["release", "withdraw", "v1.5.0", "--reason", "loses sessions"]);
    const updater = await tufJs(vendor, customer, { root, folder: "js" });
    await updater.refresh();
    assert.equal(await updater.getTargetInfo(archive("1.5.0")), undefined);
    assert.ok(await updater.getTargetInfo(archive("1.4.2")));
    const refused = await vendor.run(["tuf", "targets", "--key", "key:standby"]);
    assert.equal(refused.exitCode, 22, "another key takes over entries only when it is told to trust who signed them");
    const [change] = await changesOf(["--key", "key:standby", "--trust", "key:ci", "--channel", "stable"]);
    assert.deepEqual(change, { channel: "stable", version: 6, added: [], dropped: [], rollouts: [] });
  });

  await t.test("a promoted release is listed in its new channel with what the old one says about it", async () => {
    const promoted = await vendor.run(["release", "promote", "v1.4.2", "--to", "preview", "--product", "acme"]);
    assert.equal(promoted.exitCode, 22, "the key of the recipe did not sign what is listed now");
    assert.match(promoted.stderr, /the change is made, and the TUF metadata still lists channels as before/);
    const words = ["--key", "key:ci", "--trust", "key:standby"];
    const planned = await changesOf([...words, "--dry-run"]);
    assert.deepEqual(await changesOf(words), planned);
    assert.deepEqual(planned, [
      { channel: "preview", version: 3, added: ["1.4.2"], dropped: [], rollouts: [] },
      { channel: "stable", version: 7, added: [], dropped: [], rollouts: [] },
    ]);
    await vendor.result(["grant", "set", "beta", "--product", "acme", "--channel", "preview"]);
    const target = archive("1.4.2").replace("stable", "preview");
    assert.deepEqual(await downloadWith(await tufJs(vendor, customer, { root, folder: "js" }), target), await dist("1.4.2"));
  });

  await t.test("a rollout is signed as it was typed; what the server says later narrows it and widens nothing", async () => {
    const signed = async (): Promise<unknown> => {
      const updater = await tufJs(vendor, customer, { root, folder: "js" });
      await updater.refresh();
      return (await updater.getTargetInfo("acme/stable/1.4.2/release.json"))?.custom["rollout"];
    };
    await vendor.result(["release", "rollout", "v1.4.2", "--machines", "25"]);
    const { salt } = (await signed()) as { readonly salt: string };
    assert.deepEqual(await signed(), { salt, percent: 25 });
    const tell = async (body: unknown): Promise<void> => {
      const headers = { authorization: `Bearer ${vendor.env["SLIPWAY_TOKEN"] ?? ""}`, "content-type": "application/json" };
      const init = { method: "POST", headers, body: JSON.stringify(body) };
      assert.equal((await fetch(`${vendor.url}/api/v1/products/acme/releases/1.4.2/rollout`, init)).status, 200);
    };
    await tell({ channel: "stable", machines: 100 });
    await changesOf(["--key", "key:ci"]);
    assert.deepEqual(await signed(), { salt, percent: 25 });
    await tell({ channel: "stable", machines: 5, percent: 0 });
    const [, narrowed] = await changesOf(["--key", "key:ci"]);
    assert.deepEqual(narrowed?.rollouts, ["1.4.2 halted (was 25 % of the machines)"]);
    assert.deepEqual(await signed(), { salt, percent: 5, halted: true });
    await vendor.result(["release", "rollout", "v1.4.2", "--machines", "100", "--percent", "100"]);
    assert.equal(await signed(), undefined);
  });

  await t.test("J10 rotation: a root key, the release key and the server's keys are replaced; clients with the first root follow", async () => {
    await vendor.result(["keys", "new", "dora", "--type", "tuf"]);
    await vendor.result(["keys", "new", "ci-next", "--type", "tuf"]);
    const words = ["tuf", "rotate", "next", "--root-keys", "key:alice,key:bob,key:dora", "--targets-keys", "key:ci-next,key:standby", "--server-keys"];
    await vendor.result(words);
    for (const name of ["alice", "ci-next"]) await vendor.result(["tuf", "sign", "next", "--key", `key:${name}`]);
    const one = await vendor.run(["tuf", "upload", "next"]);
    assert.equal(one.exitCode, 22, "one root key of two is not enough");
    const stranger = await vendor.run(["tuf", "sign", "next", "--key", "key:updates"]);
    assert.equal(stranger.exitCode, 4);
    await vendor.result(["tuf", "sign", "next", "--key", "key:bob"]);
    await vendor.result(["tuf", "upload", "next"]);
    const updater = await tufJs(vendor, customer, { root, folder: "js" });
    assert.deepEqual(await downloadWith(updater, archive("1.4.2")), await dist("1.4.2"));
    const checked = await vendor.result(["upgrade", "check", "--installation", "installation.yaml"]);
    assert.equal(checked["installed"], "1.4.2");
    const kept = JSON.parse(await readFile(join(vendor.folder, "var/updates/trust/online/current/root.json"), "utf8")) as { signed: { version: number } };
    assert.equal(kept.signed.version, 2);
  });

  await t.test("status shows every role with its expiry", async () => {
    const { files } = (await vendor.result(["tuf", "status"])) as {
      files: { repository: string; role: string; version: number; days: number; advice: string }[];
    };
    const roles = files.map(({ repository, role }) => `${repository} ${role}`).sort();
    assert.deepEqual(roles, [
      "both acme-preview",
      "both acme-stable",
      "both targets",
      "offline root",
      "offline snapshot",
      "offline timestamp",
      "online root",
      "online snapshot",
      "online timestamp",
    ]);
    assert.ok(files.every(({ days, advice }) => days >= 0 && advice === ""));
  });
});

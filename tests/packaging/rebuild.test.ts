/** `slipway rebuild --verify` on real repositories: what is the same, what differs and where, and that nothing is left behind. */
import assert from "node:assert/strict";
import { appendFile, mkdir, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { needClient } from "../support/clients.ts";
import { createVendor, runSlipway, type CommandEnd } from "../support/vendor.ts";
import { sampleProduct, sampleRecipe, temporaryFolder } from "./fixture.ts";

const git = (folder: string, ...args: readonly string[]): Promise<string> =>
  requireCommand(
    ["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false", ...args],
    { timeoutMs: 60_000 },
  );

type Product = { readonly folder: string; readonly slipway: (...words: readonly string[]) => Promise<CommandEnd> };

/** The sample in a repository of its own, tagged v1.4.2, with keys beside it. */
async function taggedProduct(t: TestContext): Promise<Product> {
  const folder = await sampleProduct(t, `${sampleRecipe}sign: { gpg: key:packages, minisign: key:updates }\nsbom: {}\nprovenance: true\n`);
  const env = { SLIPWAY_KEYS_DIR: join(await temporaryFolder(t), "keys"), HOME: await temporaryFolder(t) };
  const slipway = (...words: readonly string[]): Promise<CommandEnd> => runSlipway(words, { cwd: folder, env });
  await git(folder, "init", "--quiet");
  await writeFile(join(folder, ".gitignore"), "dist/\n");
  await git(folder, "add", "--all");
  await git(folder, "commit", "--quiet", "-m", "one");
  await git(folder, "tag", "v1.4.2");
  for (const [name, type] of [
    ["packages", "openpgp"],
    ["updates", "minisign"],
  ] as const)
    assert.equal(
      (await slipway("keys", "new", name, "--type", type, "--no-passphrase", ...(type === "openpgp" ? ["--algorithm", "ed25519"] : []))).exitCode,
      0,
    );
  return { folder, slipway };
}

const must = (end: CommandEnd): CommandEnd => {
  assert.equal(end.exitCode, 0, `${end.stdout}\n${end.stderr}`);
  return end;
};

type Verdict = {
  readonly name: string;
  readonly result: string;
  readonly difference?: { readonly member?: string; readonly offset?: number; readonly why: string };
};
const verdicts = (end: CommandEnd): readonly Verdict[] => {
  for (const line of end.stdout.split("\n")) if (line.startsWith('{"product"')) return (JSON.parse(line) as { files: readonly Verdict[] }).files;
  throw new Error(`no result in ${end.stdout}\n${end.stderr}`);
};

test("J7 a signed release is rebuilt byte for byte with its keys, apart from the signatures without them, and the user's tree is not touched", async (t) => {
  if (!needClient(t, "git")) return;
  const { folder, slipway } = await taggedProduct(t);
  must(await slipway("build"));
  // What the user does meanwhile: a new commit, a changed file, a new file.
  await appendFile(join(folder, "docs/GUIDE.md"), "more\n");
  await git(folder, "commit", "--quiet", "-a", "-m", "two");
  await appendFile(join(folder, "docs/OTHER.md"), "unsaved\n");
  await writeFile(join(folder, "new.txt"), "new\n");
  const before = [await git(folder, "status", "--porcelain"), await git(folder, "worktree", "list"), await git(folder, "stash", "list")];

  const signed = must(await slipway("rebuild", "--verify", "v1.4.2", "--json"));
  const files = verdicts(signed);
  assert.equal(files.length, (await readdir(join(folder, "dist/1.4.2"))).length);
  assert.deepEqual(
    files.filter(({ result }) => result !== "identical"),
    [],
  );
  const unsigned = must(await slipway("rebuild", "--verify", "v1.4.2", "--unsigned", "--json"));
  assert.deepEqual(
    verdicts(unsigned)
      .filter(({ result }) => result !== "identical")
      .map(({ name, result }) => `${name} ${result}`),
    [
      "acme-1.4.2-1.aarch64.rpm unsigned",
      "acme-1.4.2-1.x86_64.rpm unsigned",
      "acme-1.4.2-1.aarch64.rpm.cdx.json unsigned",
      "acme-1.4.2-1.aarch64.rpm.spdx.json unsigned",
      "acme-1.4.2-1.x86_64.rpm.cdx.json unsigned",
      "acme-1.4.2-1.x86_64.rpm.spdx.json unsigned",
      "acme-1.4.2.intoto.jsonl uncompared",
      "acme-1.4.2.provenance.json unsigned",
      "release.json unsigned",
      "SHA256SUMS unsigned",
      "SHA256SUMS.sig uncompared",
      "SHA256SUMS.minisig uncompared",
    ],
  );
  assert.deepEqual([await git(folder, "status", "--porcelain"), await git(folder, "worktree", "list"), await git(folder, "stash", "list")], before);
});

test("J7 each kind of artifact that was not built from the tag is named with the member and the byte that differ; exit not_reproducible", async (t) => {
  if (!needClient(t, "git")) return;
  const { folder, slipway } = await taggedProduct(t);
  // The release is built from a changed tree.
  const maker = join(folder, "make.sh");
  await writeFile(maker, (await readFile(maker, "utf8")).replace("echo %s", "echo X%s"));
  must(await slipway("build", "--version", "1.4.2", "--unsigned"));
  const end = await slipway("rebuild", "--verify", "v1.4.2", "--unsigned", "--json");
  assert.equal(end.exitCode, 3, end.stdout);
  assert.match(end.stdout, /"code":"not_reproducible","message":"acme-1\.4\.2-1\.aarch64\.rpm: payload: \.\/usr\/bin\/acme at byte 15: other bytes"/);
  const found = new Map(verdicts(end).map(({ name, difference }) => [name, difference]));
  const at = (name: string): string => `${found.get(name)?.member ?? ""} ${found.get(name)?.offset}`;
  assert.equal(at("acme_1.4.2_amd64.deb"), "data.tar.gz: usr/bin/acme 15");
  assert.equal(at("acme-1.4.2-1.x86_64.rpm"), "payload: ./usr/bin/acme 15");
  assert.equal(at("acme-1.4.2-linux-amd64.tar.gz"), "acme 15");
  assert.equal(at("acme-1.4.2-windows-amd64.zip"), "acme.exe 15");
  assert.equal(at("acme-1.4.2-linux-amd64"), " 15");
  assert.match(found.get("SHA256SUMS")?.why ?? "", /^line 1 is "/);
  assert.doesNotMatch(await git(folder, "worktree", "list"), /slipway-rebuild/);
});

/** What is done to a release after it was built, and what must be said of it. */
const tampered: readonly { readonly what: string; readonly do: (dist: string) => Promise<unknown>; readonly says: RegExp }[] = [
  {
    what: "a byte flipped in an rpm's payload",
    do: async (dist) => flipAtEnd(join(dist, "acme-1.4.2-1.x86_64.rpm"), 40),
    says: /acme-1\.4\.2-1\.x86_64\.rpm: at byte \d+: one of the two cannot be opened: the rpm's payload does not match its digest/,
  },
  {
    what: "a byte flipped in a deb's data",
    do: async (dist) => flipAtEnd(join(dist, "acme_1.4.2_amd64.deb"), 100),
    says: /acme_1\.4\.2_amd64\.deb: /,
  },
  {
    what: "another size in the manifest",
    do: async (dist) => writeFile(join(dist, "release.json"), (await readFile(join(dist, "release.json"), "utf8")).replace(/"size": \d+/, '"size": 1')),
    says: /release\.json: at byte \d+: line \d+ is ".*size\\": 1,"; rebuilt "/,
  },
  {
    what: "a line more in the sums",
    do: (dist) => appendFile(join(dist, "SHA256SUMS"), `${"0".repeat(64)}  zzz\n`),
    says: /SHA256SUMS: at byte \d+: line \d+ is "0{64} {2}zzz"; rebuilt ""/,
  },
  {
    what: "a missing artifact",
    do: (dist) => rm(join(dist, "acme_1.4.2_arm64.deb")),
    says: /acme_1\.4\.2_arm64\.deb: the manifest lists it, and it is not there/,
  },
];

async function flipAtEnd(path: string, before: number): Promise<void> {
  const handle = await open(path, "r+");
  try {
    const { size } = await handle.stat();
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, size - before);
    byte[0] = (byte[0] ?? 0) ^ 0xff;
    await handle.write(byte, 0, 1, size - before);
  } finally {
    await handle.close();
  }
}

test("J7 a release that was changed after it was built is refused, also without the keys", async (t) => {
  if (!needClient(t, "git")) return;
  const { folder, slipway } = await taggedProduct(t);
  const dist = join(folder, "dist/1.4.2");
  must(await slipway("build", "--only", "deb,rpm", "--target", "linux/amd64,linux/arm64"));
  await requireCommand(["cp", "-a", dist, join(folder, "dist/good")], { timeoutMs: 10_000 });
  for (const { what, do: change, says } of tampered) {
    await rm(dist, { recursive: true });
    await requireCommand(["cp", "-a", join(folder, "dist/good"), dist], { timeoutMs: 10_000 });
    await change(dist);
    const end = await slipway("rebuild", "--verify", "v1.4.2", "--unsigned");
    assert.equal(end.exitCode, 3, `${what}: ${end.stdout}${end.stderr}`);
    assert.match(end.stderr, says, what);
  }
});

test("J7 a part of a release is rebuilt as that part; a tag, a version and a recipe that do not fit are refused", async (t) => {
  if (!needClient(t, "git")) return;
  const { folder, slipway } = await taggedProduct(t);
  must(await slipway("build", "--only", "deb", "--target", "linux/arm64"));
  const part = must(await slipway("rebuild", "--verify", "v1.4.2", "--json"));
  assert.deepEqual(
    verdicts(part).map(({ name, result }) => `${name} ${result}`),
    [
      "acme_1.4.2_arm64.deb identical",
      "acme_1.4.2_arm64.deb.cdx.json identical",
      "acme_1.4.2_arm64.deb.spdx.json identical",
      "acme-1.4.2.intoto.jsonl identical",
      "acme-1.4.2.provenance.json identical",
      "release.json identical",
      "SHA256SUMS identical",
      "SHA256SUMS.sig identical",
      "SHA256SUMS.minisig identical",
    ],
  );
  assert.match((await slipway("rebuild", "--verify", "v1.4.2")).stdout, /^not released: acme_1\.4\.2_amd64\.deb, which the recipe at v1\.4\.2 makes as well$/m);
  const missing = await slipway("rebuild", "--verify", "v9.9.9", "--dist", "dist/1.4.2");
  assert.equal(missing.exitCode, 24);
  assert.match(missing.stderr, /holds acme 1\.4\.2, not 9\.9\.9/);
  await git(folder, "tag", "--delete", "v1.4.2");
  assert.match((await slipway("rebuild", "--verify", "v1.4.2")).stderr, /there is no tag v1\.4\.2 in /);
  assert.equal((await slipway("rebuild", "--verify", "v1.4.2", "--dist", "nowhere")).exitCode, 3);
});

test("a build that fails in the checkout leaves neither the checkout nor an entry in git", async (t) => {
  if (!needClient(t, "git")) return;
  const { folder, slipway } = await taggedProduct(t);
  must(await slipway("build", "--only", "binary"));
  await writeFile(join(folder, "make.sh"), "exit 7\n");
  await git(folder, "commit", "--quiet", "-a", "-m", "broken");
  await git(folder, "tag", "--force", "v1.4.2");
  const hooks = join(folder, ".git/hooks");
  await mkdir(hooks, { recursive: true });
  await writeFile(join(hooks, "post-checkout"), `#!/bin/sh\ntouch ${join(folder, "hook-ran")}\n`, { mode: 0o755 });
  const end = await slipway("rebuild", "--verify", "v1.4.2");
  assert.equal(end.exitCode, 3);
  assert.match(end.stderr, /sh for linux\/amd64: exit 7/);
  assert.equal((await git(folder, "worktree", "list")).trim().split("\n").length, 1);
  assert.equal((await git(folder, "status", "--porcelain")).trim(), "", "no hook ran");
});

test("J7 --from-server compares with what customers are given", async (t) => {
  if (!needClient(t, "git")) return;
  const vendor = await createVendor(t);
  await vendor.makeKeys();
  await vendor.serve();
  await vendor.writeInput("1.4.1");
  await writeFile(join(vendor.folder, ".gitignore"), "*\n!/input\n!/input/**\n!/acme.conf\n!/slipway.yaml\n");
  await git(vendor.folder, "init", "--quiet");
  await git(vendor.folder, "add", "--all");
  await git(vendor.folder, "commit", "--quiet", "-m", "one");
  await git(vendor.folder, "tag", "v1.4.1");
  await vendor.release("1.4.1");
  await rm(join(vendor.folder, "dist"), { recursive: true });
  const end = must(await vendor.run(["rebuild", "--verify", "v1.4.1", "--from-server", "--json"]));
  assert.deepEqual(
    verdicts(end).filter(({ result }) => result !== "identical"),
    [],
  );
});

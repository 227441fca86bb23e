/** Bad input of the packaging's list: `slipway plan` and `slipway build` name the line and what to do, before git is asked and before anything is built. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, mkdir, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { epochSeconds, sampleProduct, sampleRecipe, writeFiles } from "../packaging/fixture.ts";
import { needClient } from "../support/clients.ts";
import { compiled } from "../support/compiled.ts";
import { gpgFolder, gpgKey } from "../support/gpg.ts";

const program = fileURLToPath(new URL("../../bin/slipway", import.meta.url));
const epoch = { SOURCE_DATE_EPOCH: String(epochSeconds) };

const slipway = (folder: string, args: readonly string[], env: Readonly<Record<string, string>> = epoch): Promise<CommandResult> =>
  runCommand([program, ...args], {
    cwd: folder,
    timeoutMs: 60_000,
    // The product lies in a folder without git, whatever lies above it.
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: folder,
      ...compiled,
      GIT_CEILING_DIRECTORIES: folder,
      SLIPWAY_KEYS_DIR: join(folder, "keys"),
      ...env,
    },
  });

/** A secret key as gpg makes and exports it. */
async function writeGpgKey(t: TestContext, path: string, options: Omit<Parameters<typeof gpgKey>[1], "userId">): Promise<void> {
  const gpg = await gpgFolder(t);
  await gpgKey(gpg, { userId: "crooked@acme.example", ...options });
  await gpg.gpg(["--armor", "--output", path, "--export-secret-keys", "crooked@acme.example"]);
}

type Row = {
  readonly what: string;
  /** What is replaced in the sample recipe, and by what. */
  readonly change?: readonly [from: string | RegExp, to: string];
  readonly prepare?: (folder: string, t: TestContext) => Promise<unknown>;
  readonly version?: string;
  readonly exitCode: number;
  /** Beginning of the first line, and a part of what follows: what to do. */
  readonly says: RegExp;
};

const apkOnly = [/\[deb, rpm\][\s\S]*$/, "[apk]\n  files:\n    /usr/bin/: [acme]\n"] as const;

const rows: readonly Row[] = [
  {
    what: "a missing source",
    change: ["tree: tree", "tree: trees"],
    exitCode: 3,
    says: /^error: slipway\.yaml:19:27 packages\.files: there is no trees \[source_missing\]\n {2}build the file first, or correct its path/,
  },
  {
    what: "a pattern that nothing matches",
    change: ["docs/*.md", "docs/*.txt"],
    exitCode: 3,
    says: /slipway\.yaml:18:23 packages\.files: nothing matches docs\/\*\.txt/,
  },
  {
    what: "a missing file of an archive",
    change: ["[LICENSE, docs/GUIDE.md]", "[LICENSE, docs/GUIDES.md]"],
    exitCode: 3,
    says: /slipway\.yaml:11:22 archives: there is no docs\/GUIDES\.md/,
  },
  {
    what: "a missing unit of a service",
    change: ["packages:\n", "service: { unit: packaging/acmed.service }\npackages:\n"],
    exitCode: 3,
    says: /slipway\.yaml:12:18 service: there is no packaging\/acmed\.service/,
  },
  {
    what: "a path that is both a file and a folder",
    change: ["    /var/lib/acme:", "    /usr/share/acme/tree/one/file.txt/more.md: docs/GUIDE.md\n    /var/lib/acme:"],
    exitCode: 2,
    says: /slipway\.yaml:21:48 packages\.files: docs\/GUIDE\.md goes into \/usr\/share\/acme\/tree\/one\/file\.txt, which is a file \(tree\/one\/file\.txt, slipway\.yaml:19:27\)/,
  },
  {
    what: "a link with a file below it, which needs no disk to be wrong",
    change: ["    /var/lib/acme:", "    /usr/bin/acme-link/more.md: docs/GUIDE.md\n    /var/lib/acme:"],
    exitCode: 2,
    says: /slipway\.yaml:21:33 packages\.files: docs\/GUIDE\.md goes into \/usr\/bin\/acme-link, which is a file \(link to acme, slipway\.yaml:20:25\)/,
  },
  {
    what: "colliding destinations of a file and a folder's content",
    change: ["    /var/lib/acme:", "    /usr/share/acme/tree/run.sh: docs/GUIDE.md\n    /var/lib/acme:"],
    exitCode: 2,
    says: /slipway\.yaml:21:34 packages\.files: tree\/run\.sh \(slipway\.yaml:19:27\) and docs\/GUIDE\.md both write \/usr\/share\/acme\/tree\/run\.sh/,
  },
  {
    what: "colliding destinations of two rules",
    change: ["/usr/bin/acme-link:", "/usr/bin/acme:"],
    exitCode: 2,
    says: /slipway\.yaml:20:20 packages\.files: acme \(slipway\.yaml:15:17\) and link to acme both write \/usr\/bin\/acme/,
  },
  {
    what: "a scheme of keys that nobody knows",
    change: ["packages:\n", "sign: { gpg: vault:release }\npackages:\n"],
    exitCode: 2,
    says: /slipway\.yaml:12:14 sign\.gpg: a key is named as env:NAME, file:PATH, key:NAME/,
  },
  {
    what: "a key that is not in the key folder",
    change: ["packages:\n", "sign: { gpg: key:release }\npackages:\n"],
    exitCode: 4,
    says: /slipway\.yaml:12:14 sign\.gpg: .*release[\s\S]*`slipway keys list` shows what is there/,
  },
  {
    what: "a key file that is not there",
    change: ["packages:\n", "sign: { minisign: file:release.key }\npackages:\n"],
    exitCode: 4,
    says: /slipway\.yaml:12:19 sign\.minisign: there is no key file release\.key \[key_missing\]\n.*--unsigned builds without signatures/,
  },
  {
    what: "a key that has expired",
    change: ["packages:\n", "sign: { gpg: file:old.asc }\npackages:\n"],
    prepare: (folder, t) => writeGpgKey(t, join(folder, "old.asc"), { before: ["--faked-system-time", "20200101T000000"], expiry: "2020-06-01" }),
    exitCode: 4,
    says: /slipway\.yaml:12:14 sign\.gpg: .*expired[\s\S]*make a fresh key with `slipway keys new`/,
  },
  {
    what: "a key certified with SHA-1",
    change: ["packages:\n", "sign: { gpg: file:sha1.asc }\npackages:\n"],
    prepare: (folder, t) => writeGpgKey(t, join(folder, "sha1.asc"), { before: ["--cert-digest-algo", "SHA1"], algorithm: "rsa2048" }),
    exitCode: 4,
    says: /slipway\.yaml:12:14 sign\.gpg: key [0-9a-f]{40} certifies itself with an old hash[\s\S]*make a fresh key/,
  },
  {
    what: "a word in a version that apk does not know",
    change: apkOnly,
    version: "1.0.0-foo7",
    exitCode: 2,
    says: /slipway\.yaml:13:13 packages\.formats: .*foo7.*\n.*alpha\|beta\|preview\|rc/,
  },
  { what: "a word that is no version", version: "one", exitCode: 2, says: /"one"[\s\S]*MAJOR\.MINOR\.PATCH/ },
  {
    what: "a dependency that apk cannot say",
    change: [/\[deb, rpm\][\s\S]*$/, '[deb, apk]\n  depends: ["docker.io | docker-ce"]\n'],
    exitCode: 2,
    says: /slipway\.yaml:14:13 packages\.depends\[0\]: apk packages cannot have alternatives/,
  },
  {
    what: "a setuid bit that nobody asked for",
    prepare: (folder) => chmod(join(folder, "tree/run.sh"), 0o4755),
    exitCode: 3,
    says: /slipway\.yaml:19:27 packages\.files: tree\/run\.sh has the mode 4755 with setuid.*\n {2}write mode: "4755" beside from if it is meant/,
  },
  {
    what: "a configuration outside /etc in an apk",
    change: [apkOnly[0], `${apkOnly[1]}    /usr/share/acme.yaml: { from: packaging/acme.yaml, config: noreplace }\n`],
    exitCode: 2,
    says: /slipway\.yaml:16:35 packages\.files: \/usr\/share\/acme\.yaml \(packaging\/acme\.yaml\) is a configuration outside \/etc.*move it below \/etc/,
  },
  {
    what: "a source above 4 GiB",
    prepare: async (folder) => {
      const file = await open(join(folder, "tree/huge"), "w");
      await file.truncate(4 * 1024 ** 3); // a hole: it takes no room
      await file.close();
    },
    exitCode: 3,
    says: /slipway\.yaml:19:27 packages\.files: tree\/huge has 4294967296 bytes; a file of a package ends at 4294967295 \[format_limit\]\n {2}split it/,
  },
  {
    what: "notes without a promised section",
    change: ["packages:\n", "notes: { file: docs/GUIDE.md, sections: [Migration] }\npackages:\n"],
    exitCode: 3,
    says: /slipway\.yaml:12:16 docs\/GUIDE\.md lacks "## Migration"/,
  },
];

for (const { what, change, prepare, version = "1.4.2", exitCode, says } of rows) {
  test(`J7 plan refuses ${what}, with its line and what to do`, async (t) => {
    const recipe = change === undefined ? sampleRecipe : sampleRecipe.replace(...change);
    assert.ok(change === undefined || recipe !== sampleRecipe, "the sample has changed");
    if (prepare?.length === 2 && !needClient(t, "gpg")) return;
    const folder = await sampleProduct(t, recipe);
    await prepare?.(folder, t);
    const result = await slipway(folder, ["plan", "--version", version]);
    assert.match(result.stderr, says);
    assert.equal(result.exitCode, exitCode, result.stderr);
  });
}

test("build refuses what plan refuses, before anything is begun; all that is missing is said at once", async (t) => {
  const recipe = sampleRecipe.replace("tree: tree", "tree: trees").replace("docs/*.md", "docs/*.txt").replace("[LICENSE, docs/GUIDE.md]", "[LICENCE]");
  const folder = await sampleProduct(t, recipe);
  const before = (await readdir(folder)).sort();
  const result = await slipway(folder, ["build", "--version", "1.4.2"]);
  assert.equal(result.exitCode, 3, result.stderr);
  assert.deepEqual((await readdir(folder)).sort(), before);
  for (const place of ["slipway.yaml:19:27", "slipway.yaml:18:23", "slipway.yaml:11:13"]) assert.ok(result.stderr.includes(place), result.stderr);
});

test("mistakes of the recipe come before a missing commit or version", async (t) => {
  const folder = await sampleProduct(t, sampleRecipe.replace("tree: tree", "tree: trees"));
  for (const words of [["plan"], ["plan", "--version", "1.4.2"]]) assert.match((await slipway(folder, words, {})).stderr, /there is no trees/, words.join(" "));
  const sound = await sampleProduct(t);
  assert.match((await slipway(sound, ["plan", "--version", "1.4.2"], {})).stderr, /no git commit/);
  assert.match((await slipway(sound, ["plan"], {})).stderr, /no git repository/);
});

test("what the build command makes is not looked for: the binaries, and what build.outputs names", async (t) => {
  const recipe = sampleRecipe.replace("tree: tree", "tree: man/one.1").replace("  binaries: [acme, acmed]", "  binaries: [acme, acmed]\n  outputs: [man/]");
  const folder = await sampleProduct(t, recipe);
  await writeFiles(folder, { "make.sh": 'mkdir -p man; echo .TH > man/one.1; printf "#!/bin/sh\\necho %s %s %s\\n" "$1" "$2" "$3" > "$4"\n' });
  const planned = await slipway(folder, ["plan", "--version", "1.4.2"]);
  assert.equal(planned.exitCode, 0, planned.stderr);
  assert.match(planned.stderr, /the binaries are not looked for: build\.run makes them/);
  const built = await slipway(folder, ["build", "--version", "1.4.2", "--only", "deb", "--target", "linux/amd64"]);
  assert.equal(built.exitCode, 0, built.stderr);
});

test("finished binaries that are not there yet are said by plan and refused by build", async (t) => {
  const folder = await sampleProduct(t, sampleRecipe.replace("run: sh make.sh {bin} {version} {target} {out}", 'prebuilt: "out/{target}/{bin}{exe}"'));
  const planned = await slipway(folder, ["plan", "--version", "1.4.2"]);
  assert.equal(planned.exitCode, 0, planned.stderr);
  assert.match(planned.stderr, /not built yet, and needed by `slipway build`: out\/linux\/amd64\/acme, .* and 2 more/);
  const built = await slipway(folder, ["build", "--version", "1.4.2"]);
  assert.equal(built.exitCode, 3);
  assert.match(built.stderr, /slipway\.yaml:7:13 there is no out\/linux\/amd64\/acme for linux\/amd64/);
  assert.ok(!existsSync(join(folder, "dist")));
});

test("a variable that holds no key is said by plan, ends a build, and leaves a preview unsigned", async (t) => {
  const folder = await sampleProduct(t, sampleRecipe.replace("packages:\n", "sign: { minisign: env:ACME_KEY }\npackages:\n"));
  const planned = await slipway(folder, ["plan", "--version", "1.4.2"]);
  assert.equal(planned.exitCode, 0, planned.stderr);
  assert.match(planned.stderr, /slipway\.yaml:12:19 sign\.minisign: the variable ACME_KEY is not set; `slipway build` will need it/);
  const built = await slipway(folder, ["build", "--version", "1.4.2"]);
  assert.equal(built.exitCode, 4);
  assert.match(built.stderr, /slipway\.yaml:12:19 sign\.minisign: the variable ACME_KEY is not set/);
  assert.ok(!existsSync(join(folder, "dist")));
});

test("a part never quietly replaces a complete release, nor an unsigned one a signed one; --replace does", async (t) => {
  const folder = await sampleProduct(t, sampleRecipe.replace("packages:\n", "sign: { minisign: key:release }\npackages:\n"));
  await mkdir(join(folder, "keys"), { mode: 0o700 });
  const must = async (...words: readonly string[]): Promise<void> => {
    const result = await slipway(folder, words);
    assert.equal(result.exitCode, 0, result.stderr);
  };
  const names = (): Promise<readonly string[]> => readdir(join(folder, "dist/1.4.2")).then((all) => all.sort());
  const build = ["build", "--version", "1.4.2"];
  const part = [...build, "--only", "deb", "--target", "linux/amd64"];
  await must("keys", "new", "release", "--type", "minisign", "--no-passphrase");
  await must(...part);
  await must(...build, "--only", "rpm", "--target", "linux/amd64"); // a part replaces a part
  await must(...build);
  const complete = await names();
  for (const [words, lost] of [
    [part, /this build would take away \d+ of its \d+ files \[usage\]\n {2}put the part somewhere else with --out preview, or say --replace/],
    [[...build, "--unsigned"], /this build would take away its signature SHA256SUMS\.minisig \[usage\]\n/],
  ] as const) {
    const refused = await slipway(folder, words);
    assert.equal(refused.exitCode, 2, refused.stderr);
    assert.match(refused.stderr, lost);
    assert.deepEqual(await names(), complete);
  }
  await must(...build); // the same again
  await must(...part, "--out", "preview");
  assert.deepEqual(await names(), complete);
  await must(...part, "--replace");
  assert.ok((await names()).length < complete.length);
});

/** `slipway image push` against a real registry behind Basic: what was built is what skopeo finds there, and tags move forwards only. */
import assert from "node:assert/strict";
import { appendFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { epochSeconds, sampleProduct, sampleRecipe } from "../packaging/fixture.ts";
import { needClient } from "../support/clients.ts";
import { registrySecret, registryUser, startRegistry } from "../support/docker-registry.ts";
import { type CommandEnd, runSlipway } from "../support/vendor.ts";

const timeoutMs = 60_000;

type Scene = {
  readonly folder: string;
  readonly host: string;
  readonly run: (words: readonly string[], env?: Readonly<Record<string, string>>) => Promise<CommandEnd>;
  readonly result: (words: readonly string[], env?: Readonly<Record<string, string>>) => Promise<PushResult>;
  readonly build: (version: string) => Promise<void>;
  /** The digest that skopeo finds under a tag; undefined where there is none. */
  readonly digestOf: (tag: string) => Promise<string | undefined>;
};

type PushResult = { readonly images: readonly { digest: string; tags: string[]; movedTags: string[]; keptTags: string[]; reference: string }[] };

const credentials = { SLIPWAY_REGISTRY_USERNAME: registryUser, SLIPWAY_REGISTRY_PASSWORD: registrySecret };

async function scene(t: TestContext): Promise<Scene> {
  const registry = await startRegistry("basic");
  t.after(registry.close);
  const images = `images: [{ name: acme, tags: ["{version}", latest], entrypoint: [/usr/bin/acme] }]\npublish: { oci: ${registry.host}/team }\n`;
  const folder = await sampleProduct(t, sampleRecipe + images);
  const run: Scene["run"] = (words, env = {}) => runSlipway(words, { cwd: folder, env: { SOURCE_DATE_EPOCH: String(epochSeconds), ...env } });
  return {
    folder,
    host: registry.host,
    run,
    result: async (words, env = credentials) => {
      const end = await run([...words, "--json"], env);
      assert.equal(end.exitCode, 0, end.stdout + end.stderr);
      return JSON.parse(end.stdout.trimEnd().split("\n").at(-1) ?? "") as PushResult;
    },
    build: async (version) => {
      const end = await run(["build", "--version", version, "--only", "image", "--unsigned"]);
      assert.equal(end.exitCode, 0, end.stderr);
    },
    digestOf: async (tag) => {
      const words = ["skopeo", "inspect", "--tls-verify=false", "--creds", `${registryUser}:${registrySecret}`, `docker://${registry.host}/team/acme:${tag}`];
      try {
        return (JSON.parse(await requireCommand(words, { timeoutMs })) as { Digest: string }).Digest;
      } catch (error) {
        if (/manifest unknown|name unknown/.test(String(error))) return undefined;
        throw error;
      }
    },
  };
}

test("C4 what was built is pushed with all its tags where the recipe says, and a second push sends nothing", async (t) => {
  if (!needClient(t, "docker-registry", "skopeo")) return;
  const { host, run, result, build, digestOf } = await scene(t);
  await build("1.4.2");
  const [pushed] = (await result(["image", "push"])).images;
  assert.deepEqual([pushed?.reference, pushed?.tags, pushed?.movedTags, pushed?.keptTags], [`${host}/team/acme`, ["1.4.2", "latest"], [], []]);
  assert.equal(await digestOf("1.4.2"), pushed?.digest);
  assert.equal(await digestOf("latest"), pushed?.digest);
  const again = await run(["image", "push", "dist/1.4.2", "--json"], credentials);
  assert.equal(again.exitCode, 0, again.stderr);
  assert.ok(!again.stdout.includes('"event":"blob"'), again.stdout);
  const shown = await run(["image", "push"], credentials);
  assert.match(shown.stdout, new RegExp(`^${host}/team/acme:1\\.4\\.2 +${pushed?.digest}$`, "m"));
});

test("K1 latest follows newer releases and never goes back to an older line or to a preview", async (t) => {
  if (!needClient(t, "docker-registry", "skopeo")) return;
  const { result, build, digestOf } = await scene(t);
  const push = async (version: string) => {
    await build(version);
    return (await result(["image", "push", "--version", version])).images[0];
  };
  const first = await push("1.4.2");
  const patch = await push("1.3.9");
  assert.deepEqual([patch?.tags, patch?.keptTags], [["1.3.9"], ["latest"]]);
  assert.equal(await digestOf("latest"), first?.digest);
  const preview = await push("1.5.0-rc.1");
  assert.deepEqual([preview?.tags, preview?.keptTags], [["1.5.0-rc.1"], []]);
  const next = await push("1.5.0");
  assert.deepEqual([next?.tags, next?.movedTags], [["1.5.0", "latest"], ["latest"]]);
  assert.equal(await digestOf("latest"), next?.digest);
  assert.equal(await digestOf("1.4.2"), first?.digest);
});

test("C4 a version's tag never moves, and a release that was changed after its sums is not pushed", async (t) => {
  if (!needClient(t, "docker-registry", "skopeo")) return;
  const { folder, run, result, build, digestOf } = await scene(t);
  await build("1.4.2");
  const [pushed] = (await result(["image", "push"])).images;
  await writeFile(join(folder, "make.sh"), 'printf "#!/bin/sh\\necho other\\n" > "$4"\n');
  await build("1.4.2");
  const refused = await run(["image", "push", "--json"], credentials);
  assert.equal(refused.exitCode, 24);
  assert.match(refused.stdout, /"code":"immutable"/);
  assert.equal(await digestOf("latest"), pushed?.digest);
  await appendFile(join(folder, "dist/1.4.2/acme-1.4.2-oci.tar"), "x");
  const changed = await run(["image", "push", "--json"], credentials);
  assert.deepEqual([changed.exitCode, /"code":"sums_invalid"/.test(changed.stdout)], [20, true]);
});

test("an archive of another build is refused even where the sums agree with it", async (t) => {
  if (!needClient(t, "docker-registry")) return;
  const { folder, run, build } = await scene(t);
  await build("1.4.1");
  await build("1.4.2");
  await rename(join(folder, "dist/1.4.1/acme-1.4.1-oci.tar"), join(folder, "dist/1.4.2/acme-1.4.2-oci.tar"));
  await requireCommand(["sh", "-c", "sha256sum acme-1.4.2-oci.tar release.json > SHA256SUMS"], { cwd: join(folder, "dist/1.4.2"), timeoutMs });
  const end = await run(["image", "push", "dist/1.4.2", "--json"], credentials);
  assert.deepEqual([end.exitCode, /does not hold the image sha256:/.test(end.stdout)], [3, true], end.stdout);
});

test("the login comes from flags and a file, from variables, or from what skopeo login left; half a login and a wrong one are refused", async (t) => {
  if (!needClient(t, "docker-registry", "skopeo")) return;
  const { folder, host, run, result, build } = await scene(t);
  await build("1.4.2");
  const ends = async (words: readonly string[], env: Readonly<Record<string, string>>): Promise<readonly unknown[]> => {
    const end = await run(["image", "push", ...words, "--json"], env);
    assert.ok(!`${end.stdout}${end.stderr}`.includes(registrySecret));
    return [end.exitCode, /"code":"(\w+)"/.exec(end.stdout)?.[1]];
  };
  assert.deepEqual(await ends([], {}), [24, "unauthorized"]);
  assert.deepEqual(await ends([], { ...credentials, SLIPWAY_REGISTRY_PASSWORD: "wrong" }), [24, "unauthorized"]);
  assert.deepEqual(await ends(["--username", registryUser], {}), [2, "usage"]);
  assert.deepEqual(await ends([], { SLIPWAY_REGISTRY_PASSWORD: registrySecret }), [2, "usage"]);
  assert.deepEqual(await ends(["--to", "https://registry.example"], credentials), [2, "name_invalid"]);
  await writeFile(join(folder, "password"), `${registrySecret}\n`);
  const [fromFile] = (await result(["image", "push", "--to", `${host}/one`, "--username", registryUser, "--password-file", "password"], {})).images;
  assert.equal(fromFile?.reference, `${host}/one/acme`);
  const file = join(folder, "auth.json");
  await requireCommand(["skopeo", "login", "--tls-verify=false", "--authfile", file, "--username", registryUser, "--password", registrySecret, host], {
    timeoutMs,
  });
  const [fromLogin] = (await result(["image", "push", "--to", host], { REGISTRY_AUTH_FILE: file })).images;
  assert.equal(fromLogin?.reference, `${host}/acme`);
});

test("a release without images, and a push without a registry, say what is missing", async (t) => {
  const folder = await sampleProduct(t);
  const run = (...words: readonly string[]): Promise<CommandEnd> => runSlipway(words, { cwd: folder, env: { SOURCE_DATE_EPOCH: String(epochSeconds) } });
  assert.equal((await run("build", "--version", "1.4.2", "--only", "binary")).exitCode, 0);
  const none = await run("image", "push", "--to", "registry.example");
  assert.deepEqual([none.exitCode, /acme 1\.4\.2 has no images/.test(none.stderr)], [3, true], none.stderr);
  await writeFile(join(folder, "slipway.yaml"), `${sampleRecipe}images: [{ entrypoint: [/usr/bin/acme] }]\n`);
  assert.equal((await run("build", "--version", "1.4.2", "--only", "image")).exitCode, 0);
  const nowhere = await run("image", "push");
  assert.deepEqual([nowhere.exitCode, /which registry\?/.test(nowhere.stderr)], [2, true], nowhere.stderr);
});

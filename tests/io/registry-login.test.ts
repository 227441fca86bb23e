/** Logins that docker, podman and skopeo left on the machine: found in their order, used for their host only, never shown. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { connectRegistry, findRegistryLogin } from "../../src/io/registry-login.ts";
import { digestFromHex } from "../../src/model/digest.ts";
import { SlipwayError } from "../../src/model/errors.ts";

async function home(t: TestContext, files: Readonly<Record<string, unknown>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-login-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), typeof content === "string" ? content : JSON.stringify(content));
  }
  return folder;
}

const digest = digestFromHex("0".repeat(64));

const auth = (pair: string): { readonly auth: string } => ({ auth: Buffer.from(pair).toString("base64") });

test("a login is found for its own host only, in whichever way the host is written", async (t) => {
  const folder = await home(t, {
    ".docker/config.json": {
      auths: {
        "registry.example:5000": auth("jo:pass:word"),
        "https://index.example/v1/": auth("ann:secret"),
        "registry.example/team": auth("team:only"),
        "helper.example": {},
      },
      credsStore: "desktop",
    },
  });
  const find = (host: string) => findRegistryLogin(host, { HOME: folder });
  assert.deepEqual(await find("registry.example:5000"), { username: "jo", secret: "pass:word" });
  assert.deepEqual(await find("index.example"), { username: "ann", secret: "secret" });
  for (const host of ["registry.example", "registry.example:5001", "helper.example", "evil.example", "__proto__"])
    assert.equal(await find(host), undefined, host);
});

test("podman's file of the session wins over docker's, and a named file is the only one", async (t) => {
  const folder = await home(t, {
    "run/containers/auth.json": { auths: { "r.example": auth("session:1") } },
    ".docker/config.json": { auths: { "r.example": auth("docker:1"), "d.example": auth("docker:2") } },
    "own.json": { auths: { "o.example": auth("own:1") } },
  });
  const env = { HOME: folder, XDG_RUNTIME_DIR: join(folder, "run") };
  assert.equal((await findRegistryLogin("r.example", env))?.username, "session");
  assert.equal((await findRegistryLogin("d.example", env))?.username, "docker");
  const named = { ...env, REGISTRY_AUTH_FILE: join(folder, "own.json") };
  assert.equal((await findRegistryLogin("o.example", named))?.username, "own");
  assert.equal(await findRegistryLogin("r.example", named), undefined);
  assert.equal(await findRegistryLogin("r.example", {}), undefined);
});

test("a file that is no file of logins is refused without showing what is in it", async (t) => {
  for (const content of ["s3cret {", "[]", { auths: { "r.example": "s3cret" } }, { auths: { "r.example": auth("s3cret") } }]) {
    const folder = await home(t, { "auth.json": content });
    await assert.rejects(findRegistryLogin("r.example", { REGISTRY_AUTH_FILE: join(folder, "auth.json") }), (error: unknown) => {
      assert.ok(error instanceof SlipwayError && error.code === "setting_invalid" && error.place === join(folder, "auth.json"));
      assert.ok(!JSON.stringify(error).includes("s3cret"));
      return true;
    });
  }
});

test("a host is reached by https, and by plain http on loopback only", async () => {
  const asked: string[] = [];
  const answers: typeof fetch = async (input) => {
    asked.push(typeof input === "string" ? new URL(input).origin : "not a text");
    return new Response(null, { status: 404 });
  };
  for (const host of ["registry.example", "127.0.0.1:5000", "localhost:5000", "[::1]:5000", "127.evil.example", "localhost.evil.example"]) {
    const client = await connectRegistry(host, { fetch: answers, signal: new AbortController().signal });
    assert.equal(await client.hasBlob("acme/app", digest), false);
  }
  assert.deepEqual(asked, [
    "https://registry.example",
    "http://127.0.0.1:5000",
    "http://localhost:5000",
    "http://[::1]:5000",
    "https://127.evil.example",
    "https://localhost.evil.example",
  ]);
});

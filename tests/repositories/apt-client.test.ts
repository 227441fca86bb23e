/** The APT repository in the hands of real apt-gets, old and new, in private roots. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseVersion } from "../../src/model/version.ts";
import { type AptEntry, aptStanza } from "../../src/repositories/apt.ts";
import { aptAuth, aptSources } from "../../src/repositories/setup.ts";
import { type AptGeneration, type AptRoot, withAptRoot } from "../support/apt-root.ts";
import { type StaticServer, serveFiles } from "../support/static-server.ts";
import { aptEntryOf, printingPackage, writeTestDeb } from "../support/test-packages.ts";
import { makeTestKey, type TestKey, TestRepository } from "../support/test-repository.ts";

const pair = { keyId: "SLW-ACME-1", secret: "s3cret-of-acme" };
const repositoryKey = makeTestKey("repository", "rsa4096");

/** Builds a deb, puts it into the pool and returns its index entry. */
async function release(server: StaticServer, version: string, arch: "amd64" | "all" = "amd64", name = "coequal"): Promise<AptEntry> {
  const bytes = await writeTestDeb(printingPackage(name, parseVersion(version), arch));
  const filename = `pool/main/c/${name}/${name}_${version}_${arch}.deb`;
  server.files.set(`/apt/coequal/${filename}`, bytes);
  return aptEntryOf(bytes, filename);
}

async function setUp(root: AptRoot, server: StaticServer, key: TestKey): Promise<void> {
  const place = { baseUrl: server.baseUrl, product: "coequal", channel: "stable" };
  await root.writeSource(aptSources(place, key.publicKey));
  await root.writeAuth(aptAuth(place, pair));
}

const update = ["update", "--error-on=any"];

async function succeeds(root: AptRoot, args: readonly string[]): Promise<string> {
  const result = await root.run(args);
  assert.equal(result.exitCode, 0, `apt-get ${args.join(" ")}\n${result.stdout}\n${result.stderr}`);
  return result.stdout + result.stderr;
}

async function printed(root: AptRoot, program: string): Promise<string> {
  return (await root.command([`/usr/bin/${program}`])).stdout.trim();
}

for (const generation of ["bookworm", "trixie"] as const satisfies readonly AptGeneration[]) {
  test(`apt-get of ${generation} installs a pinned version and upgrades with the one-file set-up and the access pair`, async (t) => {
    const key = await repositoryKey;
    const server = await serveFiles(t, pair);
    const repository = new TestRepository(server.files);
    const first = [await release(server, "1.4.0"), await release(server, "1.4.1")];
    await repository.publishApt(key, { add: first });
    await withAptRoot(
      t,
      async (root) => {
        await setUp(root, server, key);
        await succeeds(root, update);
        const requests = [...server.log];
        assert.ok(
          requests.some((line) => /^GET 200 .*binary-amd64\/by-hash\/SHA256\/[0-9a-f]{64}$/.test(line)),
          requests.join("\n"),
        );
        assert.ok(!requests.some((line) => line.endsWith("Packages.gz")), "by-hash leaves no window between the release file and the index");
        await succeeds(root, ["install", "coequal=1.4.0"]);
        assert.equal(await printed(root, "coequal"), "coequal 1.4.0");

        server.log.length = 0;
        await succeeds(root, update);
        assert.deepEqual(server.log, ["GET 304 /apt/coequal/dists/stable/InRelease"], "an idle update is one conditional request");

        await repository.publishApt(key, { add: [await release(server, "1.5.0-rc.1"), await release(server, "1.4.2")] });
        server.modifiedAt = new Date(server.modifiedAt.getTime() + 10_000);
        await succeeds(root, update);
        const offered = await root.command(["apt-cache", "madison", "coequal"]);
        assert.deepEqual(
          offered.stdout.split("\n").flatMap((line) => line.split("|")[1]?.trim() ?? []),
          ["1.5.0~rc.1", "1.4.2", "1.4.1", "1.4.0"],
        );
        await succeeds(root, ["install", "coequal=1.4.2"]);
        assert.equal(await printed(root, "coequal"), "coequal 1.4.2");
        await succeeds(root, ["upgrade"]);
        assert.equal(await printed(root, "coequal"), "coequal 1.5.0-rc.1");
      },
      { generation },
    );
  });
}

test("apt-get refuses a tampered deb, a release file of another key, a wrong secret and an expired release file", async (t) => {
  const key = await repositoryKey;
  const server = await serveFiles(t, pair);
  const repository = new TestRepository(server.files);
  await repository.publishApt(key, { add: [await release(server, "1.4.0")] });
  await withAptRoot(t, async (root) => {
    await setUp(root, server, key);
    await succeeds(root, update);

    const path = "/apt/coequal/pool/main/c/coequal/coequal_1.4.0_amd64.deb";
    const good = server.files.get(path) ?? new Uint8Array();
    server.files.set(path, good.with(good.length - 20, (good.at(-20) ?? 0) ^ 1));
    const tampered = await root.run(["install", "coequal"]);
    assert.equal(tampered.exitCode, 100);
    assert.match(tampered.stderr, /Hash Sum mismatch/);
    server.files.set(path, good);

    await repository.publishApt(await makeTestKey("stranger", "ed25519"), { add: [await release(server, "6.6.6")] });
    server.modifiedAt = new Date(server.modifiedAt.getTime() + 10_000);
    const foreign = await root.run(update);
    assert.notEqual(foreign.exitCode, 0);
    assert.match(foreign.stdout + foreign.stderr, /not signed|NO_PUBKEY|couldn't be verified/);
    assert.doesNotMatch((await root.command(["apt-cache", "policy", "coequal"])).stdout, /6\.6\.6/);

    await repository.publishApt(key, { add: [] }, { now: new Date(Date.now() - 3 * 86_400_000), validUntilDays: 1 });
    server.modifiedAt = new Date(server.modifiedAt.getTime() + 10_000);
    const expired = await root.run(update);
    assert.notEqual(expired.exitCode, 0);
    assert.match(expired.stderr, /expired/);

    await root.writeAuth(aptAuth({ baseUrl: server.baseUrl, product: "coequal", channel: "stable" }, { keyId: pair.keyId, secret: "wrong" }));
    const stranger = await root.run(update);
    assert.notEqual(stranger.exitCode, 0);
    assert.match(stranger.stdout + stranger.stderr, /401/);
  });
});

test("apt-get sees a package for all architectures, and no longer sees what was removed", async (t) => {
  const key = await repositoryKey;
  const server = await serveFiles(t, pair);
  const repository = new TestRepository(server.files);
  const old = await release(server, "1.0.0");
  await repository.publishApt(key, { add: [old, await release(server, "1.1.0", "all", "coequal-docs")] });
  await repository.publishApt(key, { add: [await release(server, "1.1.0")], remove: [old] });
  await withAptRoot(t, async (root) => {
    await setUp(root, server, key);
    await succeeds(root, update);
    assert.notEqual((await root.run(["install", "coequal=1.0.0"])).exitCode, 0);
    await succeeds(root, ["install", "coequal", "coequal-docs"]);
    assert.equal(await printed(root, "coequal"), "coequal 1.1.0");
    assert.equal(await printed(root, "coequal-docs"), "coequal-docs 1.1.0");
  });
});

test("apt-get installs from a channel that has packages for all architectures alone, and goes on when others join", async (t) => {
  const key = await repositoryKey;
  const server = await serveFiles(t, pair);
  const repository = new TestRepository(server.files);
  await repository.publishApt(key, { add: [await release(server, "1.0.0", "all", "coequal-docs")] }, { architectures: [] });
  await withAptRoot(t, async (root) => {
    await setUp(root, server, key);
    await succeeds(root, update);
    await succeeds(root, ["install", "coequal-docs"]);
    assert.equal(await printed(root, "coequal-docs"), "coequal-docs 1.0.0");
    await repository.publishApt(key, { add: [await release(server, "1.1.0"), await release(server, "1.1.0", "all", "coequal-docs")] });
    server.modifiedAt = new Date(server.modifiedAt.getTime() + 10_000);
    await succeeds(root, update);
    await succeeds(root, ["install", "coequal", "coequal-docs"]);
    assert.equal(await printed(root, "coequal-docs"), "coequal-docs 1.1.0");
    assert.equal(await printed(root, "coequal"), "coequal 1.1.0");
  });
});

test("apt-get falls back to Release and Release.gpg where InRelease is not to be had", async (t) => {
  const key = await repositoryKey;
  const server = await serveFiles(t, pair);
  const repository = new TestRepository(server.files);
  await repository.publishApt(key, { add: [await release(server, "1.4.0")] });
  server.files.delete("/apt/coequal/dists/stable/InRelease");
  await withAptRoot(t, async (root) => {
    await setUp(root, server, key);
    await succeeds(root, update);
    await succeeds(root, ["install", "coequal"]);
    assert.ok(server.log.includes("GET 200 /apt/coequal/dists/stable/Release.gpg"));
  });
});

test("apt-get reads an index of many gzip members whole, grown by additions and removals", async (t) => {
  const key = await repositoryKey;
  const server = await serveFiles(t, pair);
  const repository = new TestRepository(server.files);
  const description = `Stands for a real one\n ${"words that take their room ".repeat(12)}`;
  const entries = Array.from({ length: 3000 }, (_, index): AptEntry => {
    const fields = Object.entries({ Package: `coequal-${index}`, Version: "1.0", Architecture: "amd64", Description: description });
    const deb = { fields: fields.map(([name, value]) => ({ name, value })), sizes: { packageBytes: 1, installedBytes: 1 } };
    return { arch: "amd64", stanza: aptStanza(deb, { filename: `pool/${index}.deb`, sha256: "0".repeat(64) }) };
  });
  for (let start = 0; start < entries.length; start += 500) await repository.publishApt(key, { add: entries.slice(start, start + 500) });
  await repository.publishApt(key, { add: [await release(server, "1.4.0")], remove: entries.slice(1200, 1300) });
  await withAptRoot(t, async (root) => {
    await setUp(root, server, key);
    await succeeds(root, update);
    const names = (await root.command(["apt-cache", "pkgnames", "coequal-"])).stdout.trim().split("\n");
    assert.equal(names.length, 2900);
    assert.ok(!names.includes("coequal-1250") && names.includes("coequal-1199") && names.includes("coequal-2999"));
    await succeeds(root, ["install", "coequal"]);
  });
});

/** Images built without a daemon, judged by the real tools: skopeo and umoci read them, busybox in them runs. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { openLayoutBase } from "../../src/packaging/image-base.ts";
import { buildImage, writeImageArchive } from "../../src/packaging/image-build.ts";
import { layerEntries, systemEntries } from "../../src/packaging/image-files.ts";
import { createImageLayout } from "../../src/packaging/image-layout.ts";
import { readOciLayout, verifyOciLayers } from "../../src/formats/oci-layout.ts";
import { requireCommand } from "../../src/io/command.ts";
import { createHashedFile } from "../../src/io/hashed-file.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { imageSchema } from "../../src/packaging/image-schema.ts";
import { needClient } from "../support/clients.ts";
import { buildSample, planSample, sampleEntries, sampleEpoch, sampleRecipe, writeCaBundle } from "../support/sample-image.ts";

const timeoutMs = 60_000;

const refusedWith =
  (code: string, text: RegExp = /./) =>
  (error: unknown): boolean =>
    error instanceof SlipwayError && error.code === code && text.test(error.message);

async function temporary(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "slipway-image-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Every file of a layout with its digest and permission bits. */
async function fingerprint(folder: string): Promise<readonly string[]> {
  const lines: string[] = [];
  for (const name of (await readdir(folder, { recursive: true })).sort()) {
    const stats = await stat(join(folder, name));
    const content = stats.isFile()
      ? createHash("sha256")
          .update(await readFile(join(folder, name)))
          .digest("hex")
      : "";
    lines.push(`${name} ${(stats.mode & 0o7777).toString(8)} ${content}`);
  }
  return lines;
}

test("C1 skopeo reads a multi-arch image: platforms, labels, user, entrypoint, ports", async (t) => {
  if (!needClient(t, "skopeo", "busybox")) return;
  const folder = await temporary(t);
  const { built } = await buildSample(join(folder, "layout"));
  const inspect = async (...args: readonly string[]): Promise<Record<string, unknown>> =>
    JSON.parse(await requireCommand(["skopeo", ...args, `oci:${folder}/layout:1.2.0-rc.1`], { timeoutMs })) as Record<string, unknown>;
  for (const arch of ["amd64", "arm64"]) {
    const seen = await inspect("--override-arch", arch, "inspect");
    assert.equal(seen["Digest"], built.descriptor.digest);
    assert.equal(seen["Architecture"], arch);
    assert.equal(seen["Created"], "2023-11-14T22:13:20Z");
    const { config } = (await inspect("--override-arch", arch, "inspect", "--config")) as { config: Record<string, unknown> };
    assert.equal(config["User"], "65532:65532");
    assert.deepEqual(config["Entrypoint"], ["/usr/bin/busybox"]);
    assert.deepEqual(Object.keys(config["ExposedPorts"] as object), ["53/udp", "8080/tcp"]);
    const labels = config["Labels"] as Record<string, string>;
    assert.equal(labels["org.opencontainers.image.revision"], "0123456789abcdef0123456789abcdef01234567");
    assert.equal(labels["org.opencontainers.image.licenses"], "Apache-2.0");
    assert.equal(labels["team"], "acme");
  }
  const raw = (await inspect("inspect", "--raw")) as { annotations: Record<string, string>; manifests: { platform: unknown }[] };
  assert.equal(raw.annotations["org.opencontainers.image.version"], "1.2.0-rc.1");
  assert.deepEqual(
    raw.manifests.map((one) => one.platform),
    [
      { architecture: "amd64", os: "linux" },
      { architecture: "arm64", os: "linux", variant: "v8" },
    ],
  );
});

test("C1 umoci unpacks the image as it was planned, and its program runs", async (t) => {
  if (!needClient(t, "skopeo", "umoci", "busybox")) return;
  if (process.getuid?.() !== 0) return t.skip("unpacking with owners needs root");
  const folder = await temporary(t);
  await buildSample(join(folder, "layout"));
  await requireCommand(["skopeo", "copy", `oci:${folder}/layout:1.2.0-rc.1`, `oci:${folder}/single:x`], { timeoutMs });
  await requireCommand(["umoci", "unpack", "--image", `${folder}/single:x`, `${folder}/bundle`], { timeoutMs });
  const root = join(folder, "bundle", "rootfs");
  const owner = async (path: string): Promise<string> => {
    const { mode, uid, gid, mtimeMs } = await lstat(join(root, path));
    return `${(mode & 0o7777).toString(8)} ${uid}:${gid} ${mtimeMs / 1000 === sampleEpoch ? "epoch" : mtimeMs}`;
  };
  assert.equal(await owner("usr/bin/busybox"), "755 0:0 epoch");
  assert.equal(await owner("var/lib/app"), "750 65532:65532 epoch");
  assert.equal(await owner("etc/toolbox/arch"), "640 0:65532 epoch");
  assert.equal(await owner("tmp"), "1777 0:0 epoch");
  assert.equal(await owner("usr"), "755 0:0 epoch");
  assert.equal(await readlink(join(root, "usr/bin/sh")), "busybox");
  assert.equal(await readFile(join(root, "etc/passwd"), "utf8"), "root:x:0:0:root:/root:/sbin/nologin\napp:x:65532:65532:app:/var/lib/app:/sbin/nologin\n");
  assert.equal(await readFile(join(root, "etc/group"), "utf8"), "root:x:0:\napp:x:65532:\n");
  assert.equal(await readFile(join(root, "etc/nsswitch.conf"), "utf8"), "hosts: files dns\n");
  assert.equal((await readFile(join(root, `opt/${"long/".repeat(30)}name`), "utf8")).trim(), "long");
  assert.equal(await requireCommand(["chroot", "--userspec=65532:65532", root, "/usr/bin/busybox", "echo", "ran"], { timeoutMs }), "ran\n");
});

test("C5 a rebuild under another time zone, umask, locale and folder gives the same bytes, the archive's included", async (t) => {
  if (!needClient(t, "busybox")) return;
  const folder = await temporary(t);
  const build = async (name: string, env: Readonly<Record<string, string>>, umask: string): Promise<{ tree: readonly string[]; archive: Buffer }> => {
    const place = join(folder, name);
    await mkdir(join(place, "x"), { recursive: true });
    const script = fileURLToPath(new URL("./image-rebuild.ts", import.meta.url));
    await requireCommand(["sh", "-c", `umask ${umask}; cd "$1/x" && exec "$2" "$3" "$1"`, "sh", place, process.execPath, script], {
      timeoutMs,
      env: { PATH: process.env["PATH"] ?? "", ...env },
    });
    return { tree: await fingerprint(join(place, "layout")), archive: await readFile(join(place, "image.tar")) };
  };
  const first = await build("one", { TZ: "UTC", LC_ALL: "C" }, "022");
  const second = await build("second/place", { TZ: "Pacific/Kiritimati", LC_ALL: "tr_TR.UTF-8", UV_THREADPOOL_SIZE: "1" }, "077");
  assert.deepEqual(second.tree, first.tree);
  assert.ok(second.archive.equals(first.archive));
});

test("C1 skopeo copies the oci-archive and the layout with all platforms, digests unchanged", async (t) => {
  if (!needClient(t, "skopeo", "busybox")) return;
  const folder = await temporary(t);
  const { plan, layout, built } = await buildSample(join(folder, "layout"), { compression: "zstd" });
  const archive = await createHashedFile(join(folder, plan.archiveName), 0o644);
  await writeImageArchive(layout, built, { epochSeconds: plan.epochSeconds, sink: archive.write });
  await archive.close();
  for (const from of [`oci-archive:${folder}/toolbox-1.2.0-rc.1-oci.tar:1.2.0-rc.1`, `oci:${folder}/layout:v1.2.0-rc.1`]) {
    await requireCommand(["skopeo", "copy", "--all", "--preserve-digests", from, `oci:${folder}/copy:x`], { timeoutMs });
    const [copied] = await readOciLayout((await createImageLayout(join(folder, "copy"))).source);
    assert.equal(copied?.descriptor.digest, built.descriptor.digest);
    for (const image of copied?.images ?? []) await verifyOciLayers(layout.source, image, 100_000_000);
    assert.equal(copied?.images.length, 2);
    await rm(join(folder, "copy"), { recursive: true });
  }
});

test("an image on a base keeps the base's layers, links and settings, and names the base", async (t) => {
  if (!needClient(t, "skopeo", "umoci", "busybox")) return;
  if (process.getuid?.() !== 0) return t.skip("unpacking with owners needs root");
  const folder = await temporary(t);
  const base = await buildSample(join(folder, "base"), { tags: ["base-{version}"], labels: { of: "base" }, env: { FROM_BASE: "1" } });
  await assert.rejects(openLayoutBase(join(folder, "base"), "other"), refusedWith("source_missing", /base/));
  const opened = await openLayoutBase(join(folder, "base"), "base-1.2.0-rc.1");
  const plan = planSample({ base: "oci:base:base-1.2.0-rc.1", tags: ["x{version}"], entrypoint: ["/usr/bin/app"], env: { OWN: "2" } });
  const layout = await createImageLayout(join(folder, "layout"));
  await buildImage({
    plan,
    layout,
    base: { ...opened, name: "registry.example/acme/base:1" },
    systemEntries: [],
    productEntries: async () =>
      (await sampleEntries("x")).filter((entry) => entry.path === "/usr/bin/busybox").map((entry) => ({ ...entry, path: "/usr/bin/app" })),
  });
  const [image] = await readOciLayout(layout.source);
  assert.equal(image?.index?.annotations["org.opencontainers.image.base.name"], "registry.example/acme/base:1");
  assert.equal(image?.index?.annotations["org.opencontainers.image.base.digest"], base.built.descriptor.digest);
  for (const one of image?.images ?? []) {
    assert.equal(one.manifest.layers.length, 2);
    await verifyOciLayers(layout.source, one, 100_000_000);
    assert.deepEqual(one.config.runtime.env, { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", FROM_BASE: "1", OWN: "2" });
    assert.deepEqual([one.config.runtime.entrypoint, one.config.runtime.cmd, one.config.runtime.user], [["/usr/bin/app"], undefined, "65532:65532"]);
    assert.equal(one.config.history.length, 2);
    assert.equal(one.config.runtime.labels?.["of"], "base");
  }
  await requireCommand(["skopeo", "copy", `oci:${folder}/layout:x1.2.0-rc.1`, `oci:${folder}/single:x`], { timeoutMs });
  await requireCommand(["umoci", "unpack", "--image", `${folder}/single:x`, `${folder}/bundle`], { timeoutMs });
  assert.equal((await stat(join(folder, "bundle/rootfs/tmp"))).mode & 0o7777, 0o1777);
  assert.ok((await stat(join(folder, "bundle/rootfs/usr/bin/app"))).isFile());
});

test("a base without the platform, and a base whose blob was changed, are refused", async (t) => {
  if (!needClient(t, "busybox")) return;
  const folder = await temporary(t);
  const base = await buildSample(join(folder, "base"), { tags: ["base-{version}"], targets: ["linux/amd64"] });
  const opened = await openLayoutBase(join(folder, "base"));
  const layout = await createImageLayout(join(folder, "layout"));
  const build = { layout, base: opened, systemEntries: [], productEntries: async () => [] };
  await assert.rejects(buildImage({ ...build, plan: planSample({ base: "oci:base" }) }), refusedWith("source_missing", /no image for linux\/arm64/));
  const [image] = await readOciLayout(base.layout.source);
  const layer = image?.images[0]?.manifest.layers[0]?.digest.slice(7) ?? "";
  const blob = join(folder, "base/blobs/sha256", layer);
  const bytes = await readFile(blob);
  bytes[100] = (bytes[100] ?? 0) ^ 1;
  await writeFile(blob, bytes);
  await rm(join(folder, "layout/blobs/sha256", layer), { force: true });
  await assert.rejects(buildImage({ ...build, plan: planSample({ base: "oci:base" }, ["linux/amd64"]) }), refusedWith("format_invalid", /has the digest/));
  assert.deepEqual(
    (await readdir(join(folder, "layout/blobs"))).filter((name) => name.endsWith(".tmp")),
    [],
  );
  await rm(blob);
  await symlink("/etc/passwd", blob);
  await assert.rejects(buildImage({ ...build, plan: planSample({ base: "oci:base" }, ["linux/amd64"]) }), refusedWith("format_invalid", /cannot read/));
});

test("a CA bundle and time zones come only when asked, from the file or folder named, and nothing secret with them", async (t) => {
  const folder = await temporary(t);
  const plan = planSample({ caBundle: "ca.pem", timeZones: "zones" });
  await assert.rejects(systemEntries(plan, { folder }), refusedWith("source_missing", /no CA bundle/));
  await writeCaBundle(join(folder, "ca.pem"));
  await assert.rejects(systemEntries(plan, { folder }), refusedWith("source_missing", /no time zones/));
  await mkdir(join(folder, "zones/Europe"), { recursive: true });
  await mkdir(join(folder, "zones/right"));
  await writeFile(join(folder, "zones/Europe/Berlin"), "TZif2 zone");
  await writeFile(join(folder, "zones/right/Berlin"), "TZif2 zone");
  await writeFile(join(folder, "zones/tzdata.zi"), "# text");
  await symlink("Europe/Berlin", join(folder, "zones/Home"));
  await symlink("/etc/passwd", join(folder, "zones/Away"));
  const entries = await systemEntries(plan, { folder });
  assert.deepEqual(
    entries.map((entry) => entry.path),
    ["/etc/ssl/certs/ca-certificates.crt", "/usr/share/zoneinfo/Europe/Berlin", "/usr/share/zoneinfo/Home"],
  );
  await writeFile(join(folder, "ca.pem"), "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n");
  await assert.rejects(systemEntries(plan, { folder }), refusedWith("source_unusable", /PRIVATE KEY/));
  const machine = await systemEntries(planSample({ caBundle: "system" }), { folder, caBundles: [join(folder, "none"), "/etc/ssl/certs/ca-certificates.crt"] });
  assert.equal(machine.length, 1);
  assert.deepEqual(await systemEntries(planSample({}), { folder }), []);
});

test("the form of an image is a JSON Schema for editors, with defaults as a recipe writes them", () => {
  const schema = z.toJSONSchema(imageSchema(z.record(z.string(), z.string())), { io: "input" }) as {
    properties: Record<string, { default?: unknown; description?: string }>;
  };
  const { properties } = schema;
  assert.deepEqual([properties["tags"]?.default, properties["base"]?.default, properties["compression"]?.default], [["{version}"], "scratch", "gzip"]);
  for (const [name, property] of Object.entries(properties)) assert.ok(name === "files" || (property.description ?? "").length > 10, name);
});

test("a recipe that cannot work is refused before anything is built", async (t) => {
  const refusals: readonly (readonly [Readonly<Record<string, unknown>>, RegExp])[] = [
    [{ base: "oci:base", users: { app: { uid: 1 } } }, /replace the base's own/],
    [{ base: "oci:base", nsswitch: true }, /replace the base's own/],
    [{ user: "nobody" }, /nobody is not among users/],
    [{ entrypoint: ["busybox"] }, /absolute path/],
    [{ tags: ["{tag}", "v{version}"] }, /stands there twice/],
    [{ tags: ["latest"] }, /no tag is left for the preview/],
    [{ targets: ["linux/s390x"] }, /not among the targets/],
    [{ targets: ["windows/amd64"] }, /not linux/],
    [{ base: "registry.example/debian:12" }, /add @sha256/],
    [{ base: "debian:12" }, /registry's host|begin with/],
    [{ base: "oci:../base" }, /leads out/],
    [{ name: "Acme/Tool" }, /image name/],
    [{ tags: ["a+b"] }, /image tag/],
    [{ ports: ["http"] }, /port/],
    [{ caBundle: "/etc/ssl/key.pem" }, /inside the recipe/],
    [{ entrypiont: ["/x"] }, /entrypiont/],
  ];
  for (const [recipe, says] of refusals) assert.throws(() => planSample(recipe), says, JSON.stringify(recipe));
  assert.equal(planSample({ user: 1000 }).runtime.user, "1000:1000");
  assert.deepEqual(planSample({}).runtime.entrypoint, ["/usr/bin/busybox"]);
  assert.deepEqual(planSample({}).tags, ["1.2.0-rc.1"]);
  assert.deepEqual(planSample({ tags: ["{version}", "latest"] }).tags, ["1.2.0-rc.1"], "no preview becomes latest");

  const layout = await createImageLayout(join(await temporary(t), "layout"));
  const build = { layout, systemEntries: [] };
  await assert.rejects(
    buildImage({ ...build, plan: planSample({ entrypoint: ["/usr/bin/other"] }), productEntries: async () => [] }),
    refusedWith("recipe_invalid", /not in it/),
  );
  const plan = planSample(sampleRecipe);
  const entry = { kind: "directory", path: "/etc", mode: 0o755, owner: "root", group: "stranger" } as const;
  assert.throws(() => layerEntries(plan, { product: [entry], system: [] }), refusedWith("recipe_invalid", /stranger/));
  const twice = { kind: "directory", path: "/etc", mode: 0o755, owner: "root", group: "root" } as const;
  assert.throws(() => layerEntries(plan, { product: [twice], system: [{ ...twice, uid: 0, gid: 0 }] }), refusedWith("recipe_invalid", /written twice/));
});

/** Images in a real registry: pushed by us and read by skopeo, pulled by us as a base. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ociPlatform } from "../../src/formats/oci-descriptor.ts";
import { type OciImage, readOciLayout, verifyOciLayers } from "../../src/formats/oci-layout.ts";
import { ociManifestTypes } from "../../src/formats/oci-manifest.ts";
import { parseOciReference } from "../../src/formats/oci-reference.ts";
import { requireCommand } from "../../src/io/command.ts";
import { createRegistryClient, type RegistryClient } from "../../src/io/registry-client.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { parseTarget } from "../../src/model/target.ts";
import { pullBase } from "../../src/packaging/image-base.ts";
import { buildImage, imageBlobs } from "../../src/packaging/image-build.ts";
import { createImageLayout } from "../../src/packaging/image-layout.ts";
import { type ImagePush, pushImage } from "../../src/packaging/image-push.ts";
import { needClient } from "../support/clients.ts";
import { registrySecret, registryUser, startRegistry } from "../support/docker-registry.ts";
import { buildSample, planSample } from "../support/sample-image.ts";

const timeoutMs = 60_000;
const credentials = { username: registryUser, secret: registrySecret };

type Scene = { readonly folder: string; readonly host: string; readonly client: RegistryClient; readonly push: ImagePush; readonly outcomes: string[] };

async function scene(t: TestContext, auth: "basic" | "token"): Promise<Scene> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-push-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const registry = await startRegistry(auth);
  t.after(registry.close);
  const client = createRegistryClient({ origin: registry.origin, credentials });
  const { plan, layout, built } = await buildSample(join(folder, "layout"));
  const { image } = await imageBlobs(layout, built);
  const outcomes: string[] = [];
  const push = {
    client,
    repository: plan.repository,
    tags: plan.tags,
    source: layout.source,
    image,
    onBlob: (blob: { outcome: string }) => outcomes.push(blob.outcome),
  };
  return { folder, host: registry.host, client, push, outcomes };
}

for (const auth of ["basic", "token"] as const) {
  test(`C4 an image is pushed to a registry with ${auth}, and skopeo reads and copies every platform of it`, async (t) => {
    if (!needClient(t, "docker-registry", "skopeo", "busybox", "openssl")) return;
    const { folder, host, push, outcomes } = await scene(t, auth);
    const { digest } = await pushImage(push);
    assert.deepEqual(outcomes.toSorted(), ["uploaded", "uploaded", "uploaded", "uploaded"]);
    const creds = `${registryUser}:${registrySecret}`;
    for (const tag of ["1.2.0-rc.1", "v1.2.0-rc.1"]) {
      const seen = JSON.parse(
        await requireCommand(["skopeo", "inspect", "--tls-verify=false", "--creds", creds, `docker://${host}/acme/toolbox:${tag}`], { timeoutMs }),
      ) as Record<string, unknown>;
      assert.equal(seen["Digest"], digest);
    }
    await requireCommand(
      [
        "skopeo",
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--src-creds",
        creds,
        `docker://${host}/acme/toolbox@${digest}`,
        `oci:${folder}/pulled:x`,
      ],
      { timeoutMs },
    );
    const { source } = await createImageLayout(join(folder, "pulled"));
    const [pulled] = await readOciLayout(source);
    assert.equal(pulled?.descriptor.digest, digest);
    for (const image of pulled?.images ?? []) await verifyOciLayers(source, image, 100_000_000);
  });
}

test("C4 a push is safe to repeat, goes on where it was killed, mounts what a neighbour has, and never moves a version's tag", async (t) => {
  if (!needClient(t, "docker-registry", "busybox")) return;
  const { folder, client, push, outcomes } = await scene(t, "basic");
  const killed: RegistryClient = {
    ...client,
    putManifest: async () => {
      throw new SlipwayError("network_unreachable", "cut");
    },
  };
  await assert.rejects(pushImage({ ...push, client: killed }));
  assert.equal(await client.findManifest(push.repository, "1.2.0-rc.1", ociManifestTypes), undefined, "no tag before everything is there");
  outcomes.length = 0;
  const { digest } = await pushImage(push);
  assert.deepEqual([...new Set(outcomes)], ["present"]);
  outcomes.length = 0;
  assert.deepEqual(await pushImage(push), { digest, movedTags: [] });
  assert.deepEqual(outcomes, []);
  await pushImage({ ...push, repository: "acme/copy", mountFrom: [push.repository] });
  assert.deepEqual([...new Set(outcomes)], ["mounted"]);

  const other = await buildSample(join(folder, "other"), { env: { MODE: "other" } });
  const { image } = await imageBlobs(other.layout, other.built);
  const next = { ...push, image, source: other.layout.source };
  await assert.rejects(pushImage(next), (error) => error instanceof SlipwayError && error.code === "immutable" && error.message.includes(digest));
  assert.equal(await client.findManifest(push.repository, other.built.descriptor.digest, ociManifestTypes), undefined, "refused before anything was sent");
  assert.deepEqual((await pushImage({ ...next, tags: ["1.2.0-rc.1"], mayMoveTags: true })).movedTags, ["1.2.0-rc.1"]);
  assert.equal(await client.findManifest(push.repository, "1.2.0-rc.1", ociManifestTypes), other.built.descriptor.digest);
});

test("C1 a base comes from a registry by digest, only the platforms that are needed, and is not fetched twice", async (t) => {
  if (!needClient(t, "docker-registry", "busybox", "openssl")) return;
  const { folder, host, client, push } = await scene(t, "token");
  const { digest } = await pushImage(push);
  const reference = parseOciReference(`${host}/acme/toolbox:1.2.0-rc.1@${digest}`);
  const cache = await createImageLayout(join(folder, "cache"));
  const platforms = [ociPlatform(parseTarget("linux/amd64"))];
  const base = await pullBase({ client, reference, platforms, layout: cache });
  assert.deepEqual([base.name, base.digest], [`${host}/acme/toolbox:1.2.0-rc.1`, digest]);
  assert.equal((await readdir(join(folder, "cache/blobs/sha256"))).length, 4, "index, manifest, configuration, layer");
  const blobless: RegistryClient = {
    ...client,
    pullBlob: async () => {
      throw new Error("asked again");
    },
  };
  await pullBase({ client: blobless, reference, platforms, layout: cache });
  const derived = await createImageLayout(join(folder, "derived"));
  const plan = planSample({ base: `${host}/acme/toolbox@${digest}`, tags: ["x{version}"] }, ["linux/amd64"]);
  const built = await buildImage({
    plan,
    base,
    layout: derived,
    systemEntries: [],
    productEntries: async () => [{ kind: "directory", path: "/srv/own", mode: 0o755, owner: "root", group: "root" }],
  });
  const { image } = await imageBlobs(derived, built);
  await verifyOciLayers(derived.source, image.images[0] as OciImage, 100_000_000);
  assert.equal(image.index?.annotations["org.opencontainers.image.base.digest"], digest);
  await pushImage({ ...push, image, source: derived.source, repository: "acme/derived", tags: ["x"], mountFrom: ["acme/toolbox"] });
  await assert.rejects(
    pullBase({ client, reference: parseOciReference(`${host}/acme/toolbox:1.2.0-rc.1`), platforms, layout: cache }),
    (error) => error instanceof SlipwayError && error.code === "usage",
  );
  await assert.rejects(
    pullBase({ client, reference: { ...reference, digest: `sha256:${"0".repeat(64)}` as never }, platforms, layout: cache }),
    (error) => error instanceof SlipwayError && error.code === "not_found",
  );
});

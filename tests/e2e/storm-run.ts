/**
 * A storm: one process publishes release after release while customers' real clients read without a pause.
 *
 * Every run of a client has to succeed at its first try, and what it leaves has to be whole: apt and dnf check signatures and sums themselves; a mirror
 * that `aws s3 sync` made is read by apt through `file:`, every file that its indexes name is there, and every sum in its repomd.xml fits.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { gunzipSync } from "node:zlib";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { get, issuePair, type Pair, publish, type RunningServer } from "../server/running-server.ts";
import { dataFolder, serve } from "../server/served-process.ts";
import { type AptGeneration, type AptRoot, withAptRoot } from "../support/apt-root.ts";
import { awsClient, debianAws } from "../support/aws-client.ts";
import { withDnfRoot } from "../support/dnf-root.ts";
import { archiveBytes, buildSample } from "../support/sample-image.ts";

export type StormPlan = {
  readonly publishes: number;
  readonly apt: readonly AptGeneration[];
  readonly isDnfIn: boolean;
  /** Every so many publishes carry an image. */
  readonly imageEvery: number;
};

export type Storm = {
  readonly seconds: number;
  /** Milliseconds of a whole publish: five uploads, their attaching, the switch. */
  readonly publishMs: { readonly p50: number; readonly p95: number; readonly longest: number };
  readonly runs: Readonly<Record<string, number>>;
  readonly failures: readonly string[];
};

const product = "coequal";

type Weather = {
  readonly t: TestContext;
  readonly running: RunningServer;
  readonly pair: Pair;
  readonly isOver: () => boolean;
  readonly runs: Record<string, number>;
  readonly failures: string[];
};

/** Runs the client again and again, and once more when all is published. */
async function loop(weather: Weather, name: string, run: () => Promise<string | undefined>): Promise<void> {
  for (let isLast = false; ; ) {
    isLast = weather.isOver();
    const failure = await run();
    weather.runs[name] = (weather.runs[name] ?? 0) + 1;
    if (failure !== undefined) weather.failures.push(`${name}, run ${weather.runs[name]}: ${failure}`);
    if (isLast || weather.failures.length > 10) return;
  }
}

const failed = (end: CommandResult): string | undefined =>
  end.exitCode === 0 ? undefined : `exit ${end.exitCode}\n${end.stdout}\n${end.stderr}`.slice(0, 4_000);

async function setUpText({ running, pair }: Weather, file: string): Promise<string> {
  const answer = await get(running, `/setup/${product}/${file}`, pair);
  assert.equal(answer.status, 200, file);
  return answer.text();
}

async function aptLoop(weather: Weather, generation: AptGeneration): Promise<void> {
  const { t, running, pair } = weather;
  await withAptRoot(
    t,
    async (apt) => {
      await apt.writeSource(await setUpText(weather, `${product}.sources`));
      await apt.writeAuth(`machine ${running.url}/apt/${product} login ${pair.id} password ${pair.secret}\n`);
      await loop(weather, `apt-get update (${generation})`, async () => failed(await apt.run(["update", "--error-on=any"])));
    },
    { generation },
  );
}

async function dnfLoop(weather: Weather): Promise<void> {
  const { t, pair } = weather;
  await withDnfRoot(t, async (dnf) => {
    const repo = (await setUpText(weather, `${product}.repo`)).trim().replaceAll(/^(username|password)=.*\n?/gm, "");
    await dnf.writeRepo(`${repo}\nusername=${pair.id}\npassword=${pair.secret}\n`);
    await loop(weather, "dnf makecache", async () => failed(await dnf.run(["makecache", "--refresh"])));
  });
}

/** Two trees of one bucket into a folder inside apt's root, so that this apt can read them as `file:`. */
async function mirrorLoop(weather: Weather, generation: AptGeneration): Promise<void> {
  const { t, running, pair } = weather;
  const aws = await awsClient(t, { program: await debianAws(), url: running.url, pair });
  await withAptRoot(
    t,
    async (apt) => {
      const mirror = join(apt.path, "mirror");
      await mkdir(mirror);
      await apt.writeSource((await setUpText(weather, `${product}.sources`)).replace(/^URIs:.*$/m, "URIs: file:/mirror/deb"));
      await loop(weather, "aws s3 sync", async () => {
        const synced = await aws.run(`aws s3 sync --only-show-errors --delete s3://${product} "$MIRROR"`, { MIRROR: mirror });
        return failed(synced) ?? (await mixture(apt, mirror));
      });
    },
    { generation },
  );
}

/** What is wrong with the mirror, if anything. */
async function mixture(apt: AptRoot, mirror: string): Promise<string | undefined> {
  const update = failed(await apt.run(["update", "--error-on=any"]));
  if (update !== undefined) return `the mirror is mixed for apt: ${update}`;
  const packages = gunzipSync(await readFile(join(mirror, "deb/dists/stable/main/binary-amd64/Packages.gz"))).toString();
  for (const [, path = ""] of packages.matchAll(/^Filename: (.*)$/gm)) if (!existsSync(join(mirror, "deb", path))) return `${path} is listed and not there`;
  const repomd = await readFile(join(mirror, "rpm/repodata/repomd.xml"), "utf8");
  for (const [, sum, path = ""] of repomd.matchAll(/<checksum type="sha256">([0-9a-f]+)<\/checksum>[\s\S]*?<location href="([^"]+)"/g)) {
    const bytes = await readFile(join(mirror, "rpm", path)).catch(() => undefined);
    if (bytes === undefined) return `${path} is in repomd.xml and not there`;
    if (createHash("sha256").update(bytes).digest("hex") !== sum) return `${path} is not what repomd.xml names`;
  }
  return undefined;
}

async function imageLoop(weather: Weather, folder: string): Promise<void> {
  const { host } = new URL(weather.running.url);
  const authFile = join(folder, "auth.json");
  const auth = weather.pair.authorization.replace("Basic ", "");
  await writeFile(authFile, JSON.stringify({ auths: { [host]: { auth } } }), { mode: 0o600 });
  const target = join(folder, "copied");
  const flags = ["--src-tls-verify=false", "--src-authfile", authFile];
  await loop(weather, "skopeo copy", async () => {
    await rm(target, { recursive: true, force: true });
    return failed(
      await runCommand(["skopeo", "--insecure-policy", "copy", "--all", ...flags, `docker://${host}/toolbox:latest`, `oci:${target}:latest`], {
        timeoutMs: 120_000,
      }),
    );
  });
}

/** Publishes `plan.publishes` releases while the clients run; the server is a process of its own. */
export async function runStorm(t: TestContext, plan: StormPlan): Promise<Storm> {
  const data = await dataFolder(t);
  const { running } = await serve(t, data);
  const folder = join(data, "..", "storm");
  const image = { name: "toolbox-oci.tar", content: await archiveBytes(await buildSample(join(folder, "layout"))) };
  await publish(running, product, "1.0.0");
  await publish(running, "toolbox", "1.0.0", [{ ...image, name: "toolbox-1.0.0-oci.tar" }]);
  const pair = await issuePair(running, "acme", product);
  const images = await issuePair(running, "acme", "toolbox");
  let isOver = false;
  const weather: Weather = { t, running, pair, isOver: () => isOver, runs: {}, failures: [] };
  const clients = [
    ...plan.apt.map((generation) => aptLoop(weather, generation)),
    ...(plan.isDnfIn ? [dnfLoop(weather)] : []),
    mirrorLoop(weather, plan.apt[0] ?? "bookworm"),
    imageLoop({ ...weather, pair: images }, folder),
  ];
  const startedAt = performance.now();
  const times: number[] = [];
  const publishing = (async () => {
    for (let number = 1; number <= plan.publishes && weather.failures.length === 0; number += 1) {
      const before = performance.now();
      await publish(running, product, `1.${number}.0`);
      times.push(performance.now() - before);
      if (number % plan.imageEvery === 0) await publish(running, "toolbox", `1.${number}.0`, [{ ...image, name: `toolbox-1.${number}.0-oci.tar` }]);
    }
  })().finally(() => {
    isOver = true;
  });
  await Promise.all([publishing, ...clients]);
  times.sort((left, right) => left - right);
  const at = (share: number): number => Math.round(times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0);
  return {
    seconds: Math.round((performance.now() - startedAt) / 1000),
    publishMs: { p50: at(0.5), p95: at(0.95), longest: at(1) },
    runs: weather.runs,
    failures: weather.failures,
  };
}

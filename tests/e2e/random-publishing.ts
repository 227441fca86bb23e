/**
 * Publishing at random, against a model: several vendors' hands publish, promote, demote, stage and withdraw on two products at once, retention takes
 * the old versions of one of them, the server is killed in between, and readers check each index that they are given.
 *
 * What must hold at every moment: an index is signed and fits its sums, by its name and by its hash; what it lists is there, or was taken back since; an
 * index that was served once is served again; nobody reads what his grant leaves out. And after every kill: what was acknowledged has happened,
 * what was not has happened whole or not at all.
 */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { get, issuePair, type Pair, publishTo, type RunningServer } from "../server/running-server.ts";
import { dataFolder, type ServedProcess, serve } from "../server/served-process.ts";
import { checkIndexes, type Reader } from "./index-check.ts";

export type RandomPlan = {
  readonly seed: number;
  /** What each hand does; there are two to a product. */
  readonly actsPerHand: number;
  readonly kills: number;
};

export type RandomRun = { readonly acts: Readonly<Record<string, number>>; readonly checks: number; readonly unknown: number };

const products = ["coequal", "jaco"] as const;
/** Each hand has its own major version, so that the model of one does not wait for the others. */
const majors = [1, 2] as const;

type Known = {
  readonly version: string;
  readonly channels: ReadonlySet<string>;
  readonly state: "published" | "withdrawn" | "retired";
  readonly percent: number;
};
/** What a release may be: more than one state only while an answer was lost with the server. */
type Model = Map<string, readonly Known[]>;

type World = {
  readonly t: TestContext;
  readonly data: string;
  readonly random: () => number;
  served: ServedProcess;
  /** Resolved while the server is up. */
  up: Promise<void>;
  isOver: boolean;
  readonly models: Readonly<Record<(typeof products)[number], Model>>;
  readonly acts: Record<string, number>;
  unknown: number;
};

/** mulberry32: small, and the same on every machine. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const running = (world: World): RunningServer => world.served.running;
const isCutOff = (error: unknown): boolean => error instanceof TypeError; // fetch: the connection was refused or broke

/** One act of a hand on a release of its own. `next` is what the release is once it is done. */
type Act = { readonly name: string; readonly next: Known; readonly run: (server: RunningServer) => Promise<void> };

/** Retention was faster. */
class Retired extends Error {}

async function call(server: RunningServer, path: string, body: unknown): Promise<void> {
  const answer = await server.admin("POST", path, body);
  if (answer.status === 409) throw new Retired(JSON.stringify(answer.body));
  assert.equal(answer.status, 200, `${path} ${JSON.stringify(body)}: ${JSON.stringify(answer.body)}`);
}

function publishAct(product: string, version: string, percent: number): Act {
  const channel = version.includes("-") ? "preview" : "stable";
  const next: Known = { version, channels: new Set([channel]), state: "published", percent };
  return {
    name: "publish",
    next,
    run: async (server) => void (await publishTo(server, product, version, { channel, ...(percent === 100 ? {} : { percent }) })),
  };
}

/** Something that may be done with this release now. */
function changeAct(product: string, known: Known, random: () => number): Act {
  const path = `/products/${product}/releases/${known.version}`;
  const withdraw: Act = {
    name: "withdraw",
    next: { ...known, state: "withdrawn" },
    run: (server) => call(server, `${path}/withdraw`, { reason: "at random" }),
  };
  if (known.version.includes("-")) return withdraw;
  const isIn = known.channels.has("beta");
  const acts: readonly Act[] = [
    withdraw,
    isIn
      ? {
          name: "demote",
          next: { ...known, channels: new Set(["stable"]) },
          run: (server) => call(server, `${path}/demote`, { channel: "beta" }),
        }
      : {
          name: "promote",
          next: { ...known, channels: new Set(["stable", "beta"]) },
          run: (server) => call(server, `${path}/promote`, { channel: "beta" }),
        },
    ...[0, 50, 100].map((percent) => ({
      name: "rollout",
      next: { ...known, percent },
      run: (server: RunningServer) => call(server, `${path}/rollout`, { channel: "stable", percent }),
    })),
  ];
  return acts[Math.floor(random() * acts.length)] ?? withdraw;
}

async function hand(world: World, product: (typeof products)[number], major: number, count: number): Promise<void> {
  const model = world.models[product];
  const mine = (): readonly Known[] =>
    [...model.values()].flatMap(([known, ...others]) =>
      known !== undefined && others.length === 0 && known.version.startsWith(`${major}.`) && known.state === "published" ? [known] : [],
    );
  for (let number = 1; number <= count; number += 1) {
    await world.up;
    const candidates = mine();
    const chosen = candidates[Math.floor(world.random() * candidates.length)];
    const isNew = chosen === undefined || world.random() < 0.45;
    const suffix = world.random() < 0.2 ? "-preview1" : "";
    const act = isNew ? publishAct(product, `${major}.${number}.0${suffix}`, world.random() < 0.3 ? 50 : 100) : changeAct(product, chosen, world.random);
    const before = model.get(act.next.version) ?? [];
    model.set(act.next.version, [...before, act.next]);
    try {
      await act.run(running(world));
      model.set(act.next.version, [act.next]);
      world.acts[act.name] = (world.acts[act.name] ?? 0) + 1;
    } catch (error) {
      if (!isCutOff(error) && !(error instanceof Retired)) throw error;
      if (isCutOff(error)) world.unknown += 1;
      await settle(world, product, act.next.version, before);
    }
  }
}

/** After an answer that never came, or a refusal: what the server says must be before or after, and that it is from now on. */
async function settle(world: World, product: (typeof products)[number], version: string, before: readonly Known[]): Promise<void> {
  const model = world.models[product];
  for (;;) {
    await world.up;
    try {
      const answer = await running(world).admin("GET", `/products/${product}/releases/${version}`);
      const [after] = (model.get(version) ?? []).slice(-1);
      const found = answer.status === 200 ? stateOf(answer.body) : undefined;
      const isDraft = answer.status === 404 || answer.body["state"] === "draft";
      const possible = [...before, ...(after === undefined ? [] : [after])];
      const match = possible.find((one) => found !== undefined && isSame(one, found));
      assert.ok(isDraft ? before.length === 0 : match !== undefined, `${product} ${version} is ${JSON.stringify(answer.body)}`);
      if (match === undefined || found === undefined) model.delete(version);
      else model.set(version, [{ ...match, state: found.state }]);
      return;
    } catch (error) {
      if (!isCutOff(error)) throw error;
    }
  }
}

function stateOf(body: Readonly<Record<string, unknown>>): Known {
  const channels = body["channels"] as readonly { readonly name: string; readonly percent: number }[];
  return {
    version: String(body["version"]),
    channels: new Set(channels.map(({ name }) => name)),
    state: body["state"] as Known["state"],
    percent: channels.find(({ name }) => name !== "beta")?.percent ?? 100,
  };
}

/** Whether the server's state is the model's. Retention may take what is published at any moment, and nothing comes back from there. */
function isSame(one: Known, found: Known): boolean {
  if (found.state === "retired") return one.state !== "withdrawn";
  if (one.state !== found.state) return false;
  return one.state === "withdrawn" || ([...one.channels].toSorted().join() === [...found.channels].toSorted().join() && one.percent === found.percent);
}

/** Only what the server itself says is no longer published may answer 410. */
async function isGone(world: World, product: string, version: string): Promise<boolean> {
  const { body } = await running(world).admin("GET", `/products/${product}/releases/${version}`);
  return body["state"] === "withdrawn" || body["state"] === "retired";
}

async function read(world: World, reader: Reader, onCheck: () => void): Promise<void> {
  for (let isLast = false; !isLast; ) {
    isLast = world.isOver;
    await world.up;
    try {
      await checkIndexes(running(world), reader, world.random);
      onCheck();
    } catch (error) {
      if (!isCutOff(error)) throw error;
      isLast = false;
    }
    await sleep(20);
  }
}

/** Without a pair, and with one for something else: nothing, whatever happens meanwhile. */
async function strangers(world: World, other: Pair): Promise<void> {
  while (!world.isOver) {
    await world.up;
    try {
      for (const path of ["apt/coequal/dists/stable/InRelease", "yum/coequal/stable/repodata/repomd.xml", "releases/coequal/index.json"]) {
        assert.equal((await get(running(world), `/${path}`)).status, 401, path);
        assert.equal((await get(running(world), `/${path}`, other)).status, 404, path);
      }
    } catch (error) {
      if (!isCutOff(error)) throw error;
    }
    await sleep(100);
  }
}

/** SIGKILL at any moment, and a new server on the same data. */
async function killer(world: World, kills: number): Promise<void> {
  for (let number = 0; number < kills && !world.isOver; number += 1) {
    await sleep(500 + world.random() * 1_000);
    let open = (): void => undefined;
    world.up = new Promise((resolve) => {
      open = resolve;
    });
    await running(world).stop();
    world.served = await serve(world.t, world.data);
    open();
  }
}

/** Runs the plan; throws at the first thing that does not hold. */
export async function runAtRandom(t: TestContext, plan: RandomPlan): Promise<RandomRun> {
  const data = await dataFolder(t);
  const world: World = {
    t,
    data,
    random: randomFrom(plan.seed),
    served: await serve(t, data),
    up: Promise.resolve(),
    isOver: false,
    models: { coequal: new Map(), jaco: new Map() },
    acts: {},
    unknown: 0,
  };
  let checks = 0;
  const readers: Reader[] = [];
  for (const product of products) {
    await publishTo(running(world), product, "1.0.0", {});
    assert.equal((await running(world).admin("PUT", `/products/${product}/channels/beta`, { rank: 50 })).status, 200);
    const mayBeGone = (version: string): Promise<boolean> => isGone(world, product, version);
    const whole = await issuePair(running(world), `whole-${product}`, product);
    readers.push({ product, pair: whole, channels: ["stable", "beta", "preview"], mayBeGone, mustNotSee: () => false, served: new Map() });
    const narrow = await issuePair(running(world), `narrow-${product}`, product);
    const grant = await running(world).admin("PUT", `/customers/narrow-${product}/grants/${product}`, { channel: "stable", versions: "<2.0.0" });
    assert.equal(grant.status, 200, JSON.stringify(grant.body));
    const mustNotSee = (version: string): boolean => version.startsWith("2.") || version.includes("-");
    readers.push({ product, pair: narrow, channels: ["stable"], hiddenChannels: ["beta", "preview"], mayBeGone, mustNotSee, served: new Map() });
  }
  const kept = await running(world).admin("PUT", "/products/jaco/retention-policy", { keep: 3, automatic: true });
  assert.equal(kept.status, 200, JSON.stringify(kept.body));
  const stranger = await issuePair(running(world), "stranger", "jaco");
  const work = [
    ...readers.map((reader) =>
      read(world, reader, () => {
        checks += 1;
      }),
    ),
    strangers(world, stranger),
    killer(world, plan.kills),
  ];
  const hands = Promise.all(products.flatMap((product) => majors.map((major) => hand(world, product, major, plan.actsPerHand)))).finally(() => {
    world.isOver = true;
  });
  await Promise.all([hands, ...work]);
  for (const product of products) await checkEnd(world, product, readers);
  return { acts: world.acts, checks, unknown: world.unknown };
}

/** All is quiet: the indexes list what the model says, to the last version. */
async function checkEnd(world: World, product: (typeof products)[number], readers: readonly Reader[]): Promise<void> {
  const known: Known[] = [];
  for (const one of [...world.models[product].values()].flatMap(([first]) => (first === undefined ? [] : [first]))) {
    const answer = await running(world).admin("GET", `/products/${product}/releases/${one.version}`);
    assert.ok(isSame(one, stateOf(answer.body)), `${product} ${one.version}: ${JSON.stringify(answer.body)}`);
    known.push(stateOf(answer.body));
  }
  const reader = readers.find((one) => one.product === product);
  assert.ok(reader !== undefined);
  const listed = await checkIndexes(running(world), reader, world.random);
  for (const channel of reader.channels) {
    const there = known.filter((one) => one.state === "published" && one.channels.has(channel));
    const sure = there.filter((one) => one.percent === 100 || channel === "beta").map(({ version }) => version);
    const possible = new Set([...there.map(({ version }) => version), ...(channel === "stable" ? ["1.0.0"] : [])]);
    const seen = listed.get(channel) ?? new Set<string>();
    for (const version of sure) assert.ok(seen.has(version), `${product} ${version} is in ${channel} and not listed`);
    for (const version of seen) assert.ok(possible.has(version), `${product} ${version} is listed in ${channel}`);
  }
}

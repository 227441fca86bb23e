/** Runs one suite of store tests on every database that the store speaks: SQLite always, PostgreSQL where Debian's package is installed. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import type { Clock } from "../../src/io/clock.ts";
import { openStore, type Store } from "../../src/store/store.ts";
import { type Postgres, postgresPrograms, startPostgres } from "./postgres.ts";

/** A clock that stands until it is moved. */
export type FakeClock = Clock & { advance(ms: number): void };

export function fakeClock(start = "2026-03-01T12:00:00Z"): FakeClock {
  let time = Date.parse(start);
  return {
    now: () => new Date(time),
    advance: (ms) => {
      time += ms;
    },
  };
}

export type StoreUnderTest = {
  readonly store: Store;
  readonly clock: FakeClock;
  readonly dataDir: string;
  readonly databaseUrl: string | undefined;
  /** A second process's view of the same database and folder; closed with the test. */
  readonly openAgain: () => Promise<Store>;
};

type StoreTest = (t: TestContext, made: StoreUnderTest) => Promise<void>;

let cluster: Promise<Postgres | undefined> | undefined;

/** One cluster per test file, started by the first test that needs it. */
export function sharedPostgres(): Promise<Postgres | undefined> {
  cluster ??= postgresPrograms().then((programs) => (programs === undefined ? undefined : startPostgres(programs)));
  return cluster;
}

/** The URL of a fresh database; undefined after the test was skipped, or an error in CI, where PostgreSQL is missing. */
export async function needPostgres(t: TestContext): Promise<string | undefined> {
  const postgres = await sharedPostgres();
  if (postgres !== undefined) return postgres.createDatabase();
  const text = "missing PostgreSQL (run npm test as root to install it)";
  if (process.env["CI"] === "true") throw new Error(text);
  t.skip(text);
  return undefined;
}

after(async () => {
  const started = await cluster;
  await started?.stop();
});

async function runOn(t: TestContext, databaseUrl: string | undefined, body: StoreTest): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), "slipway-store-"));
  const clock = fakeClock();
  const opened: Store[] = [];
  const open = async (): Promise<Store> => {
    const store = await openStore({ dataDir, clock, ...(databaseUrl === undefined ? {} : { databaseUrl }) });
    opened.push(store);
    return store;
  };
  try {
    await body(t, { store: await open(), clock, dataDir, databaseUrl, openAgain: open });
  } finally {
    for (const store of opened) await store.close();
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** Declares the test once per database. */
export function storeTest(name: string, body: StoreTest): void {
  test(`${name} (SQLite)`, (t) => runOn(t, undefined, body));
  test(`${name} (PostgreSQL)`, async (t) => {
    const databaseUrl = await needPostgres(t);
    if (databaseUrl !== undefined) await runOn(t, databaseUrl, body);
  });
}

/** The store on SQLite and PostgreSQL: what the rest builds on must be the same on both. */
import assert from "node:assert/strict";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { systemClock } from "../../src/io/clock.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { isUniqueViolation } from "../../src/store/database.ts";
import { newId } from "../../src/store/id.ts";
import { keyEncryptionKeyFile, openKeyEncryptionKey, parseKeyEncryptionKey, seal, unseal } from "../../src/store/key-encryption-key.ts";
import { openStore } from "../../src/store/store.ts";
import { storeTest } from "../support/stores.ts";

const customer = { id: "1", name: "acme", created_at: 1_900_000_000_123 };

storeTest("numbers of milliseconds come back as numbers, and a second row with a unique value is told apart from other errors", async (_, { store }) => {
  await store.ping();
  await store.db.insertInto("customers").values(customer).execute();
  const [row] = await store.db.selectFrom("customers").selectAll().execute();
  assert.deepEqual({ ...row }, customer);
  await assert.rejects(
    store.db
      .insertInto("customers")
      .values({ ...customer, id: "2" })
      .execute(),
    (error) => isUniqueViolation(error),
  );
  const foreign = { access_key_id: "none", product_id: "none", created_at: 1 };
  await assert.rejects(store.db.insertInto("access_key_products").values(foreign).execute(), (error) => !isUniqueViolation(error));
});

storeTest(
  "a transaction that throws leaves nothing, many at once do not disturb each other, and another connection sees what was committed",
  async (_, { store, openAgain }) => {
    const other = await openAgain();
    const failure = new Error("in the middle");
    await assert.rejects(
      store.db.transaction().execute(async (transaction) => {
        await transaction.insertInto("customers").values(customer).execute();
        throw failure;
      }),
      failure,
    );
    assert.deepEqual(await other.db.selectFrom("customers").selectAll().execute(), []);
    await Promise.all(
      Array.from({ length: 40 }, (_unused, index) =>
        store.db.transaction().execute(async (transaction) => {
          await transaction.selectFrom("customers").selectAll().execute();
          await transaction
            .insertInto("customers")
            .values({ id: String(index), name: `c${index}`, created_at: index })
            .execute();
        }),
      ),
    );
    const { count } = await other.db
      .selectFrom("customers")
      .select((expression) => expression.fn.countAll<number | string>().as("count"))
      .executeTakeFirstOrThrow();
    assert.equal(Number(count), 40);
  },
);

test("what the store writes is for its owner alone", async (t) => {
  const dataDir = join(await mkdtemp(join(tmpdir(), "slipway-modes-")), "new");
  t.after(() => rm(dirname(dataDir), { recursive: true, force: true }));
  const store = await openStore({ dataDir, clock: systemClock });
  const modeOf = async (...path: readonly string[]): Promise<number> => (await stat(join(dataDir, ...path))).mode & 0o777;
  assert.deepEqual([await modeOf(), await modeOf("blobs"), await modeOf("blobs", "sha256", "00")], [0o700, 0o700, 0o700]);
  assert.deepEqual([await modeOf("slipway.db"), await modeOf("slipway.db-wal")], [0o600, 0o600]);
  await store.close();
});

test("ids grow, also within one millisecond and when the clock is set back", () => {
  const now = new Date("2026-03-01T12:00:00Z");
  const ids = [newId(now), newId(now), newId(new Date(now.getTime() - 60_000)), newId(new Date(now.getTime() + 1)), newId(now)];
  assert.deepEqual(ids, ids.toSorted());
  assert.equal(new Set(ids).size, ids.length);
  assert.ok(ids.every((id) => /^[0-9A-HJKMNP-TV-Z]{26}$/.test(id)));
});

test("C9 the key-encryption key is made once for the owner alone, and its envelopes open in their own place only", async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), "slipway-kek-"));
  t.after(() => rm(dataDir, { recursive: true, force: true }));
  const [kek, same] = await Promise.all([openKeyEncryptionKey({ dataDir }), openKeyEncryptionKey({ dataDir })]);
  assert.deepEqual(kek.key, same.key, "two that start together use one key");
  assert.equal((await stat(join(dataDir, keyEncryptionKeyFile))).mode & 0o777, 0o600);
  const envelope = seal(kek, "secret", "row 1");
  assert.ok(!envelope.includes("secret"));
  assert.equal(unseal(await openKeyEncryptionKey({ dataDir }), envelope, "row 1"), "secret");
  const isLocked = (error: unknown): boolean => error instanceof SlipwayError && error.code === "key_locked";
  assert.throws(() => unseal(kek, envelope, "row 2"), isLocked);
  assert.throws(() => unseal(parseKeyEncryptionKey("00".repeat(32)), envelope, "row 1"), isLocked);
  const bytes = Buffer.from(envelope.slice(3), "base64");
  bytes[14] = (bytes[14] ?? 0) ^ 1;
  assert.throws(() => unseal(kek, `a1.${bytes.toString("base64")}`, "row 1"), isLocked);
  await writeFile(join(dataDir, keyEncryptionKeyFile), "damaged");
  await assert.rejects(openKeyEncryptionKey({ dataDir }), (error) => error instanceof SlipwayError && error.code === "key_invalid");
});

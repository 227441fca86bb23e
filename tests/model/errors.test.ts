/** The error table's rim: what others throw becomes a code that says what to do. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { asSlipwayError } from "../../src/model/errors.ts";

function thrownBy(act: () => void): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  return assert.fail("nothing was thrown");
}

test("a database that cannot grow is disk_full, not a bug", () => {
  const db = new DatabaseSync(":memory:");
  db.exec("create table t (text text); pragma max_page_count = 4");
  const error = asSlipwayError(thrownBy(() => db.prepare("insert into t values (?)").run("x".repeat(100_000))));
  assert.deepEqual([error.code, error.httpStatus, error.isRetryable], ["disk_full", 507, true]);
  db.close();
});

test("another failure of the database stays internal", () => {
  const db = new DatabaseSync(":memory:");
  assert.equal(asSlipwayError(thrownBy(() => db.exec("select * from nothing"))).code, "internal");
  db.close();
});

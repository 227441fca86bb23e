/** Leases end by time and are bound to their reader and place. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createLeases, isOpener, leaseMs } from "../../src/releases/lease.ts";

test("a lease is its reader's, for its place, until its time is over", () => {
  let now = 0;
  const leases = createLeases<string>(() => now);
  leases.take("machine 1", "coequal yum stable/repodata", "old");
  assert.equal(leases.find("machine 1", "coequal yum stable/repodata"), "old");
  assert.equal(leases.find("machine 2", "coequal yum stable/repodata"), undefined);
  assert.equal(leases.find("machine 1", "coequal yum preview/repodata"), undefined);
  now = leaseMs;
  assert.equal(leases.find("machine 1", "coequal yum stable/repodata"), "old");
  now = leaseMs + 1;
  assert.equal(leases.find("machine 1", "coequal yum stable/repodata"), undefined);
});

test("any number of readers leaves a bounded number of leases, the newest ones", () => {
  const leases = createLeases<number>(() => 0);
  for (let reader = 0; reader < 30_000; reader += 1) leases.take(String(reader), "place", reader);
  assert.equal(leases.find("0", "place"), undefined);
  assert.equal(leases.find("29999", "place"), 29_999);
});

test("a client starts with the release file or repomd.xml", () => {
  for (const path of ["dists/stable/InRelease", "dists/stable/Release", "stable/repodata/repomd.xml"]) assert.equal(isOpener(path), true, path);
  for (const path of ["dists/stable/Release.gpg", "stable/repodata/repomd.xml.asc", "InRelease/x", ""]) assert.equal(isOpener(path), false, path);
});

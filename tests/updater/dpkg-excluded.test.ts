/** What a machine's dpkg leaves out of packages. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { exclusionOf } from "../../src/updater/dpkg-excluded.ts";

test("the last rule that matches decides, as in dpkg's own example; stars take slashes, and what is no rule is passed over", () => {
  const isExcluded = exclusionOf([
    "# path-exclude=/usr/bin/*\nno-debsig\npath-exclude=/usr/share/doc/*\n",
    `path-include "/usr/share/doc/*/copyright"\npath-exclude = /opt/[!a-c]?/x+y\npath-exclude=/broken/[z-a]\n`,
  ]);
  const excluded = ["/usr/share/doc/toy/README", "/usr/share/doc/toy/examples/copyright/x", "/opt/d1/x+y"];
  const kept = ["/usr/bin/toy", "/usr/share/doc", "/usr/share/doc/toy/copyright", "/opt/a1/x+y", "/opt/d1/xxy", "/broken/z"];
  assert.deepEqual(excluded.map(isExcluded), [true, true, true]);
  assert.deepEqual(kept.map(isExcluded), [false, false, false, false, false, false]);
  assert.equal(exclusionOf([])("/usr/share/doc/toy/README"), false);
});

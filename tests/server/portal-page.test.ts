/** The portal as a page: what a customer must not misread. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { portalPage } from "../../src/server/portal-page.ts";
import type { PortalProduct, PortalView } from "../../src/server/portal-view.ts";

const living = { use: "repository", kind: "openpgp", algorithm: "EdDSA", expiresAt: null, retiredAt: null, path: "/keys/coequal.asc" } as const;
const product: PortalProduct = {
  name: "coequal",
  place: { baseUrl: "https://packages.acme.example", product: "coequal", vendor: "Acme", isPublic: false },
  releases: [],
  channel: "stable",
  newest: undefined,
  gone: [],
  advisories: [],
  grant: undefined,
  ask: "read -r SLIPWAY_SECRET",
  setup: [],
  keys: [
    { ...living, fingerprint: "AAAA1111" },
    { ...living, fingerprint: "BBBB2222", retiredAt: "2026-03-01T10:00:00.000Z" },
  ],
};
const view: PortalView = {
  vendor: "Acme",
  customer: "<b>acme</b>",
  keyId: "SLKAAAAAAAAAAAAAAAAAAAA",
  products: [product],
  pairs: [],
  notices: [],
  now: new Date("2026-04-01T00:00:00Z"),
};

test("a repository key that was retired stands apart from those to trust, with its last day and without a link to another key", () => {
  const page = portalPage(view).body.markup;
  const [trusted = "", retired = ""] = page.split("Keys that are trusted no more");
  assert.match(trusted, /<a href="https:\/\/packages\.acme\.example\/keys\/coequal\.asc"><code>AAAA 1111/);
  assert.doesNotMatch(trusted, /BBBB/);
  assert.match(retired, /<code>BBBB 2222<\/code>.*2026-03-01/s);
  assert.doesNotMatch(retired, /href="[^"]*keys/);
});

test("names of customers are text, whatever stands in them", () => {
  const { title, heading } = portalPage(view);
  assert.ok(title.includes("<b>acme</b>"), "the page escapes its title as it is written out");
  assert.match(heading.markup, /&lt;b&gt;acme&lt;\/b&gt;/);
});

/** The portal as a page: what needs doing first, then each product, then the customer's own pairs and notices. */
import type { Grant } from "../model/grant.ts";
import { isAffected } from "../repositories/affected-range.ts";
import { type Html, html, type Page, table } from "./page.ts";
import type { PortalAdvisory, PortalProduct, PortalRelease, PortalView } from "./portal-view.ts";
import { grouped } from "./product-keys.ts";

const day = (date: Date): string => date.toISOString().slice(0, 10);

const dayMs = 86_400_000;
/** Pairs that end within so many days are worth a word. */
const soonDays = 30;

export function portalPage(view: PortalView): Page {
  const tells = [...view.products.flatMap(tellsOf), ...view.products.flatMap((product) => entitlementTells(product, view)), ...pairTells(view)];
  return {
    title: `${view.vendor}: ${view.customer}`,
    heading: html`<h1>${view.vendor}</h1><p class="soft">Portal of ${view.customer}, read with ${view.keyId}</p>`,
    body: html`${tells.length > 0 ? tells : html`<div class="tell good">Nothing needs doing.</div>`}
${view.products.map((product) => productSection(product, view.now))}
${pairSection(view)}
${view.notices.length > 0 && noticeSection(view)}`,
    footer: html`As of ${view.now.toISOString().slice(0, 16).replace("T", " ")} UTC. What you have fetched is known from downloads with your pairs.`,
  };
}

/** What the customer should act on, worst first. */
function tellsOf(product: PortalProduct): readonly Html[] {
  const open = product.advisories.filter((one) => !one.isMended);
  const leaving = product.releases.filter((release) => release.retiresAt !== undefined && release.pulledAt !== undefined);
  return [
    ...open.map(
      ({ advisory, hits }) =>
        html`<div class="tell bad"><strong>${advisory.id}</strong> (${advisory.severity}): ${advisory.title}. You have fetched ${product.name}
${hits.join(", ")}; upgrade to <strong>${advisory.fixedIn}</strong>.</div>`,
    ),
    ...leaving.map(
      (release) =>
        html`<div class="tell">${product.name} <strong>${release.version}</strong>, which you have fetched, leaves on ${day(release.retiresAt ?? new Date(0))}${
          product.newest !== undefined && html`; upgrade to <strong>${product.newest}</strong>`
        }.</div>`,
    ),
    ...product.gone.map(
      ({ version, replacement, reason, isWithdrawn }) =>
        html`<div class="tell${isWithdrawn && " bad"}">${product.name} <strong>${version}</strong>, which you have fetched, ${
          isWithdrawn ? "was withdrawn by the vendor" : "is no longer here"
        }${reason !== undefined && ` (${reason})`}${replacement !== undefined && html`; its successor is <strong>${replacement}</strong>`}.</div>`,
    ),
  ];
}

/** A grant that ends, or ended, and where it stops. */
function entitlementTells({ name, grant }: PortalProduct, view: PortalView): readonly Html[] {
  const end = grant?.entitledUntil;
  if (end === undefined || end.getTime() - view.now.getTime() > soonDays * dayMs) return [];
  const then = grant?.lapse === "cut" ? "nothing can be fetched after it" : "what was published before it stays";
  return [html`<div class="tell">Your entitlement to ${name} ${end > view.now ? "ends" : "ended"} on ${day(end)}; ${then}.</div>`];
}

/** What of the product this customer may read, where that is not everything. */
function grantText(grant: Grant | undefined, now: Date): string {
  const { entitledUntil, pin, versions, channel, formats } = grant ?? {};
  const isPinned = pin !== undefined && (pin.until === undefined || pin.until > now);
  const limits = [
    entitledUntil === undefined ? "" : `until ${day(entitledUntil)}`,
    isPinned ? `up to ${pin.version}${pin.until === undefined ? "" : `, held there until ${day(pin.until)}`}` : "",
    versions === undefined ? "" : `versions ${versions}`,
    channel === undefined ? "" : `${channel} and more stable channels`,
    formats === undefined ? "" : `as ${formats.join(", ")}`,
  ].filter((text) => text !== "");
  return limits.length === 0 ? "" : `You are entitled to it ${limits.join("; ")}.`;
}

function pairTells(view: PortalView): readonly Html[] {
  return view.pairs.flatMap(({ id, expiresAt }) => {
    if (expiresAt === undefined || expiresAt.getTime() - view.now.getTime() > soonDays * dayMs) return [];
    const verb = expiresAt > view.now ? "ends" : "ended";
    return [html`<div class="tell">The access pair <code>${id}</code> ${verb} on ${day(expiresAt)}; ask ${view.vendor} for a new one.</div>`];
  });
}

function productSection(product: PortalProduct, now: Date): Html {
  const { name, place, releases, newest, grant } = product;
  return html`<section class="card" id="${name}">
<h2>${name}</h2>
<p>${newest === undefined ? "Nothing is published for you yet." : html`The newest version is <strong>${newest}</strong>.`} ${grantText(grant, now)}</p>
${
  releases.length > 0 &&
  html`<h3>Supported versions</h3>\n${table(
    ["Version", "Channel", "Published", "You fetched it", "State"],
    releases.map((release) => releaseRow(release, product)),
  )}`
}
<h3>Security advisories</h3>
${advisoryTable(product.advisories)}
<p class="soft">All of them: <a href="${place.baseUrl}/feed/${name}/advisories.atom">Atom</a>, <a href="${place.baseUrl}/feed/${name}/osv.json">OSV</a>,
<a href="${place.baseUrl}/feed/${name}/csaf/provider-metadata.json">CSAF</a>; new versions: <a href="${place.baseUrl}/feed/${name}/releases.atom">Atom</a>.</p>
<h3>Set-up</h3>
<p>First ask for the secret of the pair once, in the shell that you set up with; it stands in no history:</p>
<pre tabindex="0">${product.ask}</pre>
<p>Then paste what belongs to your tools:</p>
${product.setup.map(({ title, text }) => html`<details><summary>${title}</summary><pre tabindex="0">${text.trimEnd()}</pre></details>\n`)}
<h3>Keys</h3>
<p class="soft">Compare them with what ${place.vendor} prints elsewhere before you trust them.</p>
${keySection(product)}
</section>
`;
}

function releaseRow(release: PortalRelease, product: PortalProduct): readonly (Html | string)[] {
  const open = product.advisories.find(({ advisory }) => advisory.state === "published" && isAffected(advisory.range, release.version));
  const tags = [
    ...(release.version === product.newest ? [html`<span class="tag good">newest</span>`] : []),
    ...(open === undefined ? [] : [html`<span class="tag bad">${open.advisory.id}</span>`]),
    ...(release.retiresAt === undefined ? [] : [html`<span class="tag warn">leaves ${day(release.retiresAt)}</span>`]),
  ];
  return [
    html`<strong>${release.version}</strong>`,
    release.channels.join(", "),
    release.publishedAt === undefined ? "" : day(release.publishedAt),
    release.pulledAt === undefined ? "–" : day(release.pulledAt),
    tags.length > 0 ? html`${tags.flatMap((tag) => [tag, " "])}` : html`<span class="tag">supported</span>`,
  ];
}

function advisoryTable(advisories: readonly PortalAdvisory[]): Html {
  if (advisories.length === 0) return html`<p>None concerns a version that you have fetched.</p>`;
  return html`${advisories.map(
    ({ advisory, hits, isMended }) => html`<details${!isMended && html` open`}><summary><span class="tag ${isMended ? "good" : "bad"}">${
      isMended ? "mended" : advisory.severity
    }</span> <strong>${advisory.id}</strong> ${advisory.title}</summary>
<p>Affected: ${advisory.affected} (you fetched ${hits.join(", ")}). Fixed in <strong>${advisory.fixedIn}</strong>.${
      advisory.cves.length > 0 && html` ${advisory.cves.join(", ")}.`
    }</p>
<pre class="text" tabindex="0">${advisory.text.trim()}${advisory.workaround !== undefined && `\n\nUntil the upgrade: ${advisory.workaround.trim()}`}</pre></details>\n`,
  )}`;
}

/** A retired key is for whoever still has it: it must not be taken for one to trust. */
function keySection({ keys, place }: PortalProduct): Html {
  const retired = keys.filter(({ retiredAt }) => retiredAt !== null);
  const living = keys.filter(({ retiredAt }) => retiredAt === null);
  const rows = retired.map(({ kind, fingerprint, retiredAt }) => [
    kind,
    html`<code>${shownFingerprint(kind, fingerprint)}</code>`,
    retiredAt?.slice(0, 10) ?? "",
  ]);
  return html`${table(["Signs", "Kind", "Fingerprint"], living.map(keyRow(place.baseUrl)))}
${rows.length > 0 && html`<details><summary>Keys that are trusted no more</summary>${table(["Kind", "Fingerprint", "Signed until"], rows)}</details>`}`;
}

function shownFingerprint(kind: PortalProduct["keys"][number]["kind"], fingerprint: string): string {
  return kind === "openpgp" ? grouped(fingerprint) : fingerprint;
}

function keyRow(baseUrl: string) {
  return (key: PortalProduct["keys"][number]): readonly (Html | string)[] => [
    key.use === "repository" ? "package indexes" : "releases",
    key.kind,
    html`<a href="${baseUrl}${key.path}"><code>${shownFingerprint(key.kind, key.fingerprint)}</code></a>`,
  ];
}

function pairSection(view: PortalView): Html {
  const rows = view.pairs.map((pair) => [
    html`<code>${pair.id}</code>${pair.id === view.keyId && html` <span class="tag">this one</span>`}`,
    pair.products.join(", "),
    day(pair.createdAt),
    pair.expiresAt === undefined ? "never" : day(pair.expiresAt),
  ]);
  return html`<section class="card"><h2>Access pairs</h2>${table(["Key id", "Products", "Since", "Ends"], rows)}</section>`;
}

function noticeSection(view: PortalView): Html {
  return html`<section class="card"><h2>Notices</h2>
${view.notices.map(
  (notice) =>
    html`<details><summary>${notice.createdAt.slice(0, 10)} ${notice.subject}</summary><pre class="text" tabindex="0">${notice.text}</pre></details>\n`,
)}</section>`;
}

/** Atom feeds (RFC 4287) of a product's releases and advisories, for readers that people subscribe with. */
import type { Version } from "../model/version.ts";
import { type AdvisoryWithVersions, feedInstant, type FeedPlace } from "./advisory.ts";
import { xmlElement } from "./xml.ts";

export type AtomRelease = { readonly version: Version; readonly channel: string; readonly publishedAt: Date };

type Entry = {
  /** Stays the same for ever, whatever the address of the server: readers tell entries apart by it. */
  readonly id: string;
  readonly title: string;
  readonly publishedAt: Date;
  readonly updatedAt: Date;
  readonly link: string;
  readonly category: string;
  readonly text: string;
};

/** Feeds show the newest so many entries. */
const entryLimit = 50;

export function releaseFeed(releases: readonly AtomRelease[], place: FeedPlace): string {
  const entries = releases.map(
    ({ version, channel, publishedAt }): Entry => ({
      id: `urn:slipway:${place.product}:release:${version}`,
      title: `${place.product} ${version}`,
      publishedAt,
      updatedAt: publishedAt,
      link: `${place.baseUrl}/releases/${place.product}/${version}/SHA256SUMS`,
      category: channel,
      text: `${place.product} ${version} was published on the channel ${channel}.`,
    }),
  );
  return feed(entries, { place, name: "releases", title: `${place.product} releases` });
}

export function advisoryFeed(advisories: readonly AdvisoryWithVersions[], place: FeedPlace): string {
  const entries = advisories.map((advisory): Entry => {
    const { id, title, severity, cves, affected, fixedIn, state } = advisory;
    const lines = [
      ...(state === "withdrawn" ? ["This advisory was withdrawn.", ""] : []),
      `Severity: ${severity}${cves.length === 0 ? "" : ` (${cves.join(", ")})`}`,
      `Affected: ${place.product} ${affected}`,
      `Fixed in: ${place.product} ${fixedIn}`,
      "",
      advisory.text.trim(),
      ...(advisory.workaround === undefined ? [] : ["", `Until the upgrade: ${advisory.workaround.trim()}`]),
    ];
    return {
      id: `urn:slipway:${place.product}:advisory:${id}`,
      title: `${state === "withdrawn" ? "Withdrawn: " : ""}${id}: ${title}`,
      publishedAt: advisory.publishedAt,
      updatedAt: advisory.updatedAt,
      link: `${place.baseUrl}/feed/${place.product}/osv/${id}.json`,
      category: severity,
      text: lines.join("\n"),
    };
  });
  return feed(entries, { place, name: "advisories", title: `${place.product} security advisories` });
}

function feed(entries: readonly Entry[], about: { readonly place: FeedPlace; readonly name: string; readonly title: string }): string {
  const { place, name } = about;
  const newest = entries.toSorted((left, right) => right.updatedAt.getTime() - left.updatedAt.getTime()).slice(0, entryLimit);
  const lines = [
    xmlElement("id", {}, `urn:slipway:${place.product}:${name}`),
    xmlElement("title", {}, about.title),
    xmlElement("updated", {}, feedInstant(newest[0]?.updatedAt ?? new Date(0))),
    `<author>${xmlElement("name", {}, place.vendor)}</author>`,
    xmlElement("link", { rel: "self", type: "application/atom+xml", href: `${place.baseUrl}/feed/${place.product}/${name}.atom` }),
    xmlElement("generator", {}, "Slipway"),
    ...newest.map(entryElement),
  ];
  return `<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n${lines.map((line) => `  ${line}\n`).join("")}</feed>\n`;
}

function entryElement(entry: Entry): string {
  const lines = [
    xmlElement("id", {}, entry.id),
    xmlElement("title", {}, entry.title),
    xmlElement("published", {}, feedInstant(entry.publishedAt)),
    xmlElement("updated", {}, feedInstant(entry.updatedAt)),
    xmlElement("link", { rel: "alternate", href: entry.link }),
    xmlElement("category", { term: entry.category }),
    xmlElement("content", { type: "text" }, entry.text),
  ];
  return `<entry>\n${lines.map((line) => `    ${line}\n`).join("")}  </entry>`;
}

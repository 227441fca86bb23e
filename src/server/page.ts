/**
 * Pages for people: HTML from escaped pieces, one style sheet for light and dark and any width, and headers under which nothing else runs.
 *
 * There is no script. The style stands in the page and is allowed by its hash alone, so that whatever got into a page could neither run nor load.
 */
import { createHash } from "node:crypto";
import type { FastifyReply } from "fastify";
import { securityHeaders } from "./send.ts";

/** HTML that is safe to be put into HTML; only `html` makes it. */
export type Html = { readonly markup: string };

type Piece = Html | string | number | undefined | false | readonly (Html | string)[];

const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function markupOf(piece: Piece): string {
  if (piece === undefined || piece === false) return "";
  if (typeof piece === "string" || typeof piece === "number") return String(piece).replaceAll(/[&<>"']/g, (char) => escapes[char] ?? char);
  if ("markup" in piece) return piece.markup;
  return piece.map(markupOf).join("");
}

/** Every value is escaped, for text and for quoted attributes alike. */
export function html(parts: TemplateStringsArray, ...values: readonly Piece[]): Html {
  return { markup: parts.map((part, index) => part + markupOf(values[index])).join("") };
}

const style = `
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1b1f24; --soft: #57606a; --line: #d5dae1; --link: #0b5cad; --code: #f0f2f5;
  --bad: #a4161a; --bad-soft: #fdecec; --warn: #7a4b00; --warn-soft: #fff4dd; --good: #136b32; --good-soft: #e5f5ea; }
@media (prefers-color-scheme: dark) { :root { --page: #12151a; --card: #1a1f26; --text: #e6e9ed; --soft: #9da7b3; --line: #333b46; --link: #79b8ff;
  --code: #11151a; --bad: #ff9b9b; --bad-soft: #3a1d20; --warn: #f2c46d; --warn-soft: #372a12; --good: #7fd99a; --good-soft: #16301f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
main, header.top, footer { max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }
header.top { padding-top: 2rem; padding-bottom: .5rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.3rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1.02rem; margin: 1.6rem 0 .5rem; }
p { margin: .4rem 0; }
.soft { color: var(--soft); }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, button:focus-visible, pre:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 4px; }
section.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.25rem 1.25rem; margin: 1rem 0 1.5rem; }
section.card > h2 { margin-top: .2rem; }
.tell { border: 1px solid var(--line); border-left: 5px solid var(--warn); background: var(--warn-soft); border-radius: 8px; padding: .65rem 1rem; margin: .7rem 0; }
.tell.bad { border-left-color: var(--bad); background: var(--bad-soft); }
.tell.good { border-left-color: var(--good); background: var(--good-soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
th { font-size: .85rem; color: var(--soft); font-weight: 600; }
td:last-child, th:last-child { padding-right: 0; }
.tag { display: inline-block; font-size: .82rem; font-weight: 600; border-radius: 1rem; padding: .05rem .6rem; background: var(--code); color: var(--text); white-space: nowrap; }
.tag.bad { background: var(--bad-soft); color: var(--bad); } .tag.warn { background: var(--warn-soft); color: var(--warn); } .tag.good { background: var(--good-soft); color: var(--good); }
code, pre { font-family: ui-monospace, monospace; font-size: .88rem; }
td code { overflow-wrap: anywhere; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; user-select: all; -webkit-user-select: all; margin: .5rem 0; }
pre.text { user-select: text; -webkit-user-select: text; white-space: pre-wrap; font-family: inherit; font-size: .95rem; }
details { border-bottom: 1px solid var(--line); padding: .35rem 0; }
details:last-of-type { border-bottom: 0; }
summary { cursor: pointer; padding: .25rem 0; }
button { font: inherit; color: var(--text); background: var(--code); border: 1px solid var(--line); border-radius: 8px; padding: .35rem .9rem; cursor: pointer; }
footer { color: var(--soft); font-size: .9rem; padding-top: 1rem; padding-bottom: 2.5rem; }
@media (max-width: 40rem) {
  table.stack thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table.stack tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); } table.stack tr:last-child { border-bottom: 0; }
  table.stack td { display: flex; gap: .8rem; justify-content: space-between; border: 0; padding: .15rem 0; text-align: right; }
  table.stack td::before { content: attr(data-name); color: var(--soft); font-size: .85rem; flex: none; text-align: left; }
}
`;

const policy = [
  "default-src 'none'",
  `style-src 'sha256-${createHash("sha256").update(style).digest("base64")}'`,
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

export type Page = { readonly title: string; readonly heading: Html; readonly body: Html; readonly footer: Html };

function documentOf(page: Page): string {
  const styleElement: Html = { markup: `<style>${style}</style>` };
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${page.title}</title>
${styleElement}
</head>
<body>
<header class="top">${page.heading}</header>
<main>
${page.body}
</main>
<footer>${page.footer}</footer>
</body>
</html>
`.markup;
}

/** Takes the answer over from fastify. What is in a page is for this reader and this moment: it is kept nowhere. */
export function sendPage(reply: FastifyReply, page: Page): void {
  const text = documentOf(page);
  reply.hijack();
  reply.raw.writeHead(200, {
    ...securityHeaders,
    "Content-Security-Policy": policy,
    "Content-Type": "text/html; charset=utf-8",
    "Content-Length": Buffer.byteLength(text),
    "Cache-Control": "no-store",
    "X-Request-Id": reply.request.id,
  });
  reply.raw.end(reply.request.method === "HEAD" ? undefined : text);
}

/** A table that becomes a list of named values on a narrow screen. */
export function table(header: readonly string[], rows: readonly (readonly (Html | string)[])[]): Html {
  const cells = (row: readonly (Html | string)[]): Html[] => row.map((cell, column) => html`<td data-name="${header[column]}"><span>${cell}</span></td>`);
  return html`<div class="scroll"><table class="stack"><thead><tr>${header.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${cells(row)}</tr>\n`)}</tbody></table></div>`;
}

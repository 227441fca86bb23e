/** Listing a bucket: which keys and common prefixes make a page, where the next one begins, and the XML of ListObjectsV2, ListObjects and ListBuckets. */
import { z } from "zod";
import { decode, type QueryParameter, uriEncode } from "../access/signature-v4.ts";
import { digestHex } from "../model/digest.ts";
import type { BucketFile, BucketTree } from "../releases/bucket-tree.ts";
import { xmlElement } from "../repositories/xml.ts";
import { s3Refusal } from "./s3-errors.ts";

export type ListRequest = {
  /** 1 is the older form: a marker instead of a token, an owner with every key. */
  readonly version: 1 | 2;
  readonly prefix: string;
  readonly delimiter: string;
  /** Keys after this one; from `start-after`, `marker` or the token. */
  readonly after: string;
  readonly maxKeys: number;
  readonly isUrlEncoded: boolean;
  readonly token: { readonly text: string; readonly snapshotId: string } | undefined;
};

export type ListPage = {
  readonly keys: readonly string[];
  readonly prefixes: readonly string[];
  /** The last key or common prefix of this page, where there is more. */
  readonly next: string | undefined;
};

/** S3's own. */
const pageLimit = 1000;
const keyLimit = 1024;
export const s3Namespace = "http://s3.amazonaws.com/doc/2006-03-01/";

const tokenSchema = z.tuple([z.string().max(64), z.string().max(keyLimit)]);

/** Throws InvalidArgument. */
export function readListRequest(query: readonly QueryParameter[]): ListRequest {
  const parameters = new Map(query);
  const text = (name: string): string => {
    const value = parameters.get(name) ?? "";
    if (value.length > keyLimit) throw s3Refusal("InvalidArgument", `${name} is longer than a key may be`);
    return value;
  };
  const isUrlEncoded = parameters.get("encoding-type") === "url";
  if (parameters.has("encoding-type") && !isUrlEncoded) throw s3Refusal("InvalidArgument", "Invalid Encoding Method specified in Request");
  const maxKeys = parameters.get("max-keys") ?? String(pageLimit);
  if (!/^\d{1,9}$/.test(maxKeys)) throw s3Refusal("InvalidArgument", "Provided max-keys not an integer or within integer range");
  const version = parameters.get("list-type") === "2" ? 2 : 1;
  const token = version === 2 && parameters.has("continuation-token") ? readToken(parameters.get("continuation-token") ?? "") : undefined;
  const request: ListRequest = {
    version,
    prefix: text("prefix"),
    delimiter: text("delimiter"),
    after: token?.after ?? text(version === 2 ? "start-after" : "marker"),
    maxKeys: Math.min(Number(maxKeys), pageLimit),
    isUrlEncoded,
    token,
  };
  // Echoed in the answer, where XML cannot hold every character.
  const echoed = [request.prefix, request.delimiter, request.after];
  if (!isUrlEncoded && echoed.some((value) => /[\p{Cc}\ufffe\uffff]/u.test(value) || !value.isWellFormed())) {
    throw s3Refusal("InvalidArgument", "XML cannot hold these characters; ask with encoding-type=url");
  }
  return request;
}

function readToken(text: string): { readonly text: string; readonly snapshotId: string; readonly after: string } {
  const refused = (): Error => s3Refusal("InvalidArgument", "The continuation token provided is incorrect");
  if (text.length > 2 * keyLimit) throw refused();
  try {
    const [snapshotId, after] = tokenSchema.parse(JSON.parse(Buffer.from(text, "base64url").toString("utf8")));
    return { text, snapshotId, after };
  } catch {
    throw refused(); // whatever it was, it is none of our tokens
  }
}

/** Names the snapshot, so that the pages of one listing are of one moment, whatever is published meanwhile. */
export function continuationToken(snapshotId: string, after: string): string {
  return Buffer.from(JSON.stringify([snapshotId, after])).toString("base64url");
}

/** `keys` in byte order. Common prefixes count as one key each; a page that ends with one goes on behind all that it stands for. */
export function listPage(keys: readonly string[], request: Pick<ListRequest, "prefix" | "delimiter" | "after" | "maxKeys">): ListPage {
  const { prefix, delimiter, after, maxKeys } = request;
  const page: { keys: string[]; prefixes: string[]; next: string | undefined } = { keys: [], prefixes: [], next: undefined };
  if (maxKeys === 0) return page;
  const start = firstIndex(keys, (key) => key > after);
  // The page before ended with a common prefix: everything below it was counted there.
  const isBehindPrefix = after !== "" && commonPrefix(keys[start] ?? "", prefix, delimiter) === after;
  let index = Math.max(
    isBehindPrefix ? firstIndexBehind(keys, after) : start,
    firstIndex(keys, (key) => key >= prefix),
  );
  let last = "";
  for (let count = 0; ; count += 1) {
    const key = keys[index];
    if (key === undefined || !key.startsWith(prefix)) return page;
    if (count === maxKeys) return { ...page, next: last };
    const common = commonPrefix(key, prefix, delimiter);
    if (common === undefined) {
      page.keys.push(key);
      index += 1;
      last = key;
    } else {
      page.prefixes.push(common);
      index = firstIndexBehind(keys, common);
      last = common;
    }
  }
}

function commonPrefix(key: string, prefix: string, delimiter: string): string | undefined {
  const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}

/** The first of the sorted keys for which the claim holds; it must hold for all after it. */
function firstIndex(keys: readonly string[], claim: (key: string) => boolean): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (claim(keys[middle] ?? "")) high = middle;
    else low = middle + 1;
  }
  return low;
}

function firstIndexBehind(keys: readonly string[], prefix: string): number {
  return firstIndex(keys, (key) => key > prefix && !key.startsWith(prefix));
}

/** The answer to one page, in the form of its version. */
export function listXml(bucket: string, tree: BucketTree, request: ListRequest, page: ListPage): string {
  const name = (text: string): string => (request.isUrlEncoded ? uriEncode(text, { keepSlash: true }) : text);
  const isTruncated = page.next !== undefined;
  const position =
    request.version === 2
      ? [
          xmlElement("KeyCount", {}, String(page.keys.length + page.prefixes.length)),
          ...(request.token === undefined ? [] : [xmlElement("ContinuationToken", {}, request.token.text)]),
          ...(request.token !== undefined || request.after === "" ? [] : [xmlElement("StartAfter", {}, name(request.after))]),
          ...(page.next === undefined ? [] : [xmlElement("NextContinuationToken", {}, continuationToken(tree.snapshotId, page.next))]),
        ]
      : [xmlElement("Marker", {}, name(request.after)), ...(page.next === undefined ? [] : [xmlElement("NextMarker", {}, name(page.next))])];
  const contents = page.keys.flatMap((key) => {
    const file = tree.files.get(key);
    return file === undefined ? [] : [contentsXml(name(key), file)];
  });
  const prefixes = page.prefixes.map((prefix) => `<CommonPrefixes>${xmlElement("Prefix", {}, name(prefix))}</CommonPrefixes>`);
  return [
    `<ListBucketResult xmlns="${s3Namespace}">`,
    xmlElement("Name", {}, bucket),
    xmlElement("Prefix", {}, name(request.prefix)),
    ...(request.delimiter === "" ? [] : [xmlElement("Delimiter", {}, name(request.delimiter))]),
    xmlElement("MaxKeys", {}, String(request.maxKeys)),
    ...(request.isUrlEncoded ? [xmlElement("EncodingType", {}, "url")] : []),
    ...position,
    xmlElement("IsTruncated", {}, String(isTruncated)),
    ...contents,
    ...prefixes,
    "</ListBucketResult>",
  ].join("");
}

function contentsXml(key: string, file: BucketFile): string {
  const elements = [
    xmlElement("Key", {}, key),
    xmlElement("LastModified", {}, file.modifiedAt.toISOString()),
    xmlElement("ETag", {}, `"${digestHex(file.digest)}"`),
    xmlElement("Size", {}, String(file.size)),
    xmlElement("StorageClass", {}, "STANDARD"),
  ];
  return `<Contents>${elements.join("")}</Contents>`;
}

export function bucketsXml(owner: string, buckets: readonly { readonly name: string; readonly createdAt: Date }[]): string {
  const rows = buckets.map(
    ({ name, createdAt }) => `<Bucket>${xmlElement("Name", {}, name)}${xmlElement("CreationDate", {}, createdAt.toISOString())}</Bucket>`,
  );
  const person = `<Owner>${xmlElement("ID", {}, owner)}${xmlElement("DisplayName", {}, owner)}</Owner>`;
  return `<ListAllMyBucketsResult xmlns="${s3Namespace}">${person}<Buckets>${rows.join("")}</Buckets></ListAllMyBucketsResult>`;
}

/** Splits the path of a request, as sent: `/<bucket>/<key>`; both decoded. Throws InvalidURI. */
export function readBucketPath(path: string): { readonly bucket: string; readonly key: string } {
  const rest = path.slice(1);
  const slash = rest.indexOf("/");
  return slash < 0 ? { bucket: decode(rest), key: "" } : { bucket: decode(rest.slice(0, slash)), key: decode(rest.slice(slash + 1)) };
}

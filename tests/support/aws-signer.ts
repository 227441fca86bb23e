/** Signs requests as the AWS documents tell a client to, written without a look at src/access/signature-v4.ts, and able to do it wrongly. */
import { createHash, createHmac } from "node:crypto";

export type SigningOptions = {
  readonly id: string;
  readonly secret: string;
  readonly method?: string;
  /** Path and query as they go on the wire. */
  readonly target: string;
  readonly host: string;
  /** Signed besides host and the date. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly service?: string;
  readonly region?: string;
  readonly at?: Date;
};

const hex = (content: string): string => createHash("sha256").update(content).digest("hex");
const encode = (text: string): string => encodeURIComponent(text).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
const stampOf = (at: Date): string => at.toISOString().replaceAll(/[-:]|\.\d{3}/g, "");

function signatureOf(options: SigningOptions, parts: { readonly stamp: string; readonly scope: string; readonly canonical: string }): string {
  const text = ["AWS4-HMAC-SHA256", parts.stamp, parts.scope, hex(parts.canonical)].join("\n");
  let key: Buffer = Buffer.from(`AWS4${options.secret}`);
  for (const part of [...parts.scope.split("/"), text]) key = createHmac("sha256", key).update(part).digest();
  return key.toString("hex");
}

function scopeOf(options: SigningOptions, stamp: string): string {
  return `${stamp.slice(0, 8)}/${options.region ?? "us-east-2"}/${options.service ?? "s3"}/aws4_request`;
}

/** All headers of the signed request, Authorization among them. */
export function signedHeaders(options: SigningOptions): Record<string, string> {
  const stamp = stampOf(options.at ?? new Date());
  const payload = hex(options.body ?? "");
  const isS3 = (options.service ?? "s3") === "s3";
  const headers: Record<string, string> = { ...options.headers, host: options.host, "x-amz-date": stamp, ...(isS3 ? { "x-amz-content-sha256": payload } : {}) };
  const names = Object.keys(headers).sort();
  const [path = "", query = ""] = options.target.split("?");
  const canonical = [
    options.method ?? "GET",
    path,
    query.split("&").sort().join("&"),
    ...names.map((name) => `${name}:${headers[name]}`),
    "",
    names.join(";"),
    headers["x-amz-content-sha256"] ?? payload,
  ].join("\n");
  const scope = scopeOf(options, stamp);
  const signature = signatureOf(options, { stamp, scope, canonical });
  return { ...headers, authorization: `AWS4-HMAC-SHA256 Credential=${options.id}/${scope}, SignedHeaders=${names.join(";")}, Signature=${signature}` };
}

/** Path and query of a presigned GET. */
export function presignedTarget(options: SigningOptions & { readonly expiresSeconds: number }): string {
  const stamp = stampOf(options.at ?? new Date());
  const scope = scopeOf(options, stamp);
  const query = [
    ["X-Amz-Algorithm", "AWS4-HMAC-SHA256"],
    ["X-Amz-Credential", `${options.id}/${scope}`],
    ["X-Amz-Date", stamp],
    ["X-Amz-Expires", String(options.expiresSeconds)],
    ["X-Amz-SignedHeaders", "host"],
  ]
    .map(([name = "", value = ""]) => `${encode(name)}=${encode(value)}`)
    .join("&");
  const canonical = ["GET", options.target, query, `host:${options.host}`, "", "host", "UNSIGNED-PAYLOAD"].join("\n");
  return `${options.target}?${query}&X-Amz-Signature=${signatureOf(options, { stamp, scope, canonical })}`;
}

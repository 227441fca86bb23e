/** What one customer sees of a product through every protocol, as lists of versions. */
import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { signedHeaders } from "../support/aws-signer.ts";
import { get, type Pair, type RunningServer } from "./running-server.ts";
import { registryCaller } from "./registry-client.ts";

export type Seen = {
  /** Versions in each, sorted as text. */
  readonly apt: readonly string[];
  readonly yum: readonly string[];
  readonly index: readonly string[];
  readonly bucket: readonly string[];
  readonly images: readonly string[];
  /** The version that `latest` leads to: plain files, release index, image. */
  readonly latest: readonly (string | undefined)[];
};

const sorted = (versions: Iterable<string>): readonly string[] => [...new Set(versions)].toSorted();

async function textOf(running: RunningServer, path: string, pair: Pair): Promise<string> {
  const response = await get(running, path, pair);
  const bytes = Buffer.from(await response.arrayBuffer());
  assert.equal(response.status, 200, `${path}: ${bytes.toString("utf8").slice(0, 300)}`);
  return (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
}

/** One GET of the bucket API, signed with the pair. */
export async function bucketGet(running: RunningServer, pair: Pair, target: string): Promise<Response> {
  const { host } = new URL(running.url);
  const { host: _, ...headers } = signedHeaders({ id: pair.id, secret: pair.secret, host, target });
  return fetch(running.url + target, { headers });
}

/** `images` is false where the product has none. */
export async function seenBy(
  running: RunningServer,
  pair: Pair,
  options: { readonly product: string; readonly channel?: string; readonly images?: boolean },
): Promise<Seen> {
  const { product, channel = "stable" } = options;
  const packages = await textOf(running, `/apt/${product}/dists/${channel}/main/binary-amd64/Packages.gz`, pair);
  const repomd = await textOf(running, `/yum/${product}/${channel}/repodata/repomd.xml`, pair);
  const primary = /href="(repodata\/[^"]*primary\.xml\.gz)"/.exec(repomd)?.[1] ?? assert.fail(repomd);
  const index = JSON.parse(await textOf(running, `/releases/${product}/index.json`, pair)) as {
    channels: Record<string, string>;
    releases: { version: string; channels: string[] }[];
  };
  const listing = await (await bucketGet(running, pair, `/${product}?list-type=2`)).text();
  const send = registryCaller(running.url, pair.authorization);
  const tags = options.images === false ? [] : (((await (await send("GET", `${product}/tags/list`)).json()) as { tags?: string[] }).tags ?? []);
  const latestFile = await get(running, `/releases/${product}/latest/${product}-latest-linux-amd64`, pair);
  const latestText = await latestFile.text();
  return {
    apt: sorted([...packages.matchAll(/^Version: (.*)$/gm)].map((match) => match[1] ?? "")),
    yum: sorted(
      [...(await textOf(running, `/yum/${product}/${channel}/${primary}`, pair)).matchAll(/ ver="([^"]+)" rel="1"\/>\s*<checksum/g)].map(
        (match) => match[1] ?? "",
      ),
    ),
    index: sorted(index.releases.filter((one) => one.channels.includes(channel)).map((one) => one.version)),
    bucket: sorted([...listing.matchAll(/<Key>releases\/(\d[^/]*)\//g)].map((match) => match[1] ?? "")),
    images: sorted(tags.filter((tag) => /^\d/.test(tag))),
    latest: [latestFile.status === 200 ? / (\S+)$/.exec(latestText.trim())?.[1] : undefined, index.channels["stable"]],
  };
}

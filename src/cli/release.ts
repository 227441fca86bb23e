/** `slipway release list|show|discard|publish|withdraw`: releases on the server. */
import { z } from "zod";
import { parseVersion } from "../model/version.ts";
import { releaseSchema, releaseSummarySchema } from "../server/wire.ts";
import { channelsText } from "./channel.ts";
import { discardRelease } from "./discard-release.ts";
import { checkByDownload } from "./check-by-download.ts";
import { type CommandRun, textOption } from "./command.ts";
import { formatBytes } from "./output.ts";
import { reachOption } from "./reach-option.ts";
import { openPlace, releasePath } from "./release-place.ts";
import { settleTargets, signPublication } from "./tuf-targets.ts";

export const runList: CommandRun = async (invocation) => {
  const { output } = invocation;
  const { api, product } = await openPlace(invocation);
  const schema = z.object({ releases: z.array(releaseSummarySchema) });
  const { releases } = await api.call({ method: "GET", path: ["products", product, "releases"], schema });
  output.result({ product, releases });
  if (releases.length === 0) output.line(`${product} has no releases yet; upload one with: slipway publish`);
  else
    output.table(
      ["VERSION", "CHANNELS", "STATE", "SINCE", "REPLACED BY"],
      releases.map((release) => [
        release.version,
        release.state === "draft" ? release.channel : channelsText(release),
        release.stage ?? release.state,
        release.endedAt ?? release.publishedAt ?? release.createdAt,
        release.replacement ?? "",
      ]),
    );
  return 0;
};

export const runShow: CommandRun = async (invocation) => {
  const { output } = invocation;
  const { api, product } = await openPlace(invocation);
  const release = await api.call({ method: "GET", path: releasePath(product, invocation.args[0]), schema: releaseSchema });
  output.result(release);
  const place = release.state === "draft" ? `for ${release.channel}` : `in ${channelsText(release)}`;
  const replaced = release.replacement === null ? "" : `, replaced by ${release.replacement}`;
  output.line(`${release.product} ${release.version}: ${release.state}, ${place}${replaced}${release.reason === null ? "" : ` (${release.reason})`}`);
  output.table(
    ["ARTIFACT", "KIND", "SIZE", "SHA-256"],
    release.artifacts.map((artifact) => [artifact.name, artifact.kind, formatBytes(artifact.size), artifact.digest.slice("sha256:".length)]),
  );
  return 0;
};

/** Asks nothing: a draft is nobody's yet, and `slipway publish` puts it together again without sending its bytes twice. */
export const runDiscard: CommandRun = async (invocation) => {
  const { output } = invocation;
  const { api, product } = await openPlace(invocation);
  const release = await discardRelease(api, product, parseVersion(invocation.args[0] ?? ""));
  output.result({ product, version: release.version, discarded: true });
  output.line(`the draft of ${product} ${release.version} is discarded; its uploaded bytes stay on the server for two days`);
  return 0;
};

/** Everything is downloaded again and verified here, on the vendor's own machine, before the server is told to switch. */
export const runPublish: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const { api, product, recipe } = await openPlace(invocation);
  const path = releasePath(product, invocation.args[0]);
  const release = await api.call({ method: "GET", path, schema: releaseSchema });
  const checked = await checkByDownload(api, invocation, { release, sumsName: textOption(options, "sums") ?? recipe?.checksums ?? "SHA256SUMS" });
  const keep = recipe?.publish.retention?.keep;
  const reach = reachOption(options);
  const reference = textOption(options, "tufKey") ?? recipe?.sign?.tuf;
  const tuf = release.state === "draft" ? await signPublication(invocation, { api, release, checked, reference, reach }) : undefined;
  const published = await api.call({
    method: "POST",
    path: [...path, "publish"],
    body: {
      sums: checked.sumsDigest,
      ...(tuf === undefined ? {} : { tuf }),
      ...(keep === undefined ? {} : { keep }),
      ...reach,
    },
    schema: releaseSchema.extend({ isNew: z.boolean() }),
  });
  output.result({ ...published, verified: checked });
  output.line(
    published.isNew
      ? `${product} ${published.version} is published on ${published.channel}${reach.percent === undefined ? "" : ` for ${reach.percent} % of the customers`}: ${checked.files} files verified by re-download, ${signedText(checked.signatures)}`
      : `${product} ${published.version} was published before; nothing changed`,
  );
  return 0;
};

function signedText(signatures: readonly { readonly kind: string; readonly keyId: string }[]): string {
  return signatures.length === 0 ? "not signed by a registered key" : `signed by ${signatures.map(({ kind, keyId }) => `${kind} ${keyId}`).join(" and ")}`;
}

export const runWithdraw: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const reason = textOption(options, "reason");
  const place = await openPlace(invocation);
  const { api, product } = place;
  const body = reason === undefined ? {} : { reason };
  const release = await api.call({ method: "POST", path: [...releasePath(product, invocation.args[0]), "withdraw"], body, schema: releaseSummarySchema });
  output.result(release);
  output.line(`${product} ${release.version} is withdrawn${release.replacement === null ? "" : `; customers are led to ${release.replacement}`}`);
  await settleTargets(invocation, place);
  return 0;
};

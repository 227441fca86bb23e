/** `slipway release list|show|discard|publish|withdraw|retain`: releases on the server. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { parseVersion } from "../model/version.ts";
import type { Recipe } from "../packaging/recipe.ts";
import { productSchema, releaseSchema, releaseSummarySchema, retentionPlanSchema, type WireRetentionPlan } from "../server/wire.ts";
import { type ApiClient, openApi } from "./api-client.ts";
import { readRecipeIfPresent } from "./built-release.ts";
import { discardRelease } from "./discard-release.ts";
import { checkByDownload } from "./check-by-download.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { formatBytes, type Output } from "./output.ts";

type Place = {
  readonly api: ApiClient;
  readonly product: string /** The recipe in the working directory, where it is of this product. */;
  readonly recipe: Recipe | undefined;
};

/** The server, and the product: --product, else the recipe's in the working directory, else the only one on the server. */
async function openPlace(invocation: Invocation): Promise<Place> {
  const recipe = await readRecipeIfPresent(invocation);
  const api = await openApi(invocation, recipe?.publish.server);
  const product = textOption(invocation.options, "product") ?? recipe?.name ?? (await onlyProduct(api));
  return { api, product, recipe: recipe?.name === product ? recipe : undefined };
}

async function onlyProduct(api: ApiClient): Promise<string> {
  const { products } = await api.call({ method: "GET", path: ["products"], schema: z.object({ products: z.array(productSchema) }) });
  const [only, ...others] = products;
  if (only !== undefined && others.length === 0) return only.name;
  const names = products.map((product) => product.name).join(", ");
  throw new SlipwayError("usage", products.length === 0 ? "the server has no product yet" : `which product: ${names}`, { hint: "name it with --product" });
}

export const runList: CommandRun = async (invocation) => {
  const { output } = invocation;
  const { api, product } = await openPlace(invocation);
  const schema = z.object({ releases: z.array(releaseSummarySchema) });
  const { releases } = await api.call({ method: "GET", path: ["products", product, "releases"], schema });
  output.result({ product, releases });
  if (releases.length === 0) output.line(`${product} has no releases yet; upload one with: slipway publish`);
  else
    output.table(
      ["VERSION", "CHANNEL", "STATE", "SINCE", "REPLACED BY"],
      releases.map((release) => [
        release.version,
        release.channel,
        release.state,
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
  output.line(
    `${release.product} ${release.version}: ${release.state}, channel ${release.channel}${release.replacement === null ? "" : `, replaced by ${release.replacement}`}`,
  );
  output.table(
    ["ARTIFACT", "KIND", "SIZE", "SHA-256"],
    release.artifacts.map((artifact) => [artifact.name, artifact.kind, formatBytes(artifact.size), artifact.digest.slice("sha256:".length)]),
  );
  return 0;
};

function releasePath(product: string, version: string | undefined): readonly string[] {
  return ["products", product, "releases", parseVersion(version ?? "")];
}

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
  const published = await api.call({
    method: "POST",
    path: [...path, "publish"],
    body: { sums: checked.sumsDigest, ...(keep === undefined ? {} : { keep }) },
    schema: releaseSchema.extend({ isNew: z.boolean() }),
  });
  output.result({ ...published, verified: checked });
  output.line(
    published.isNew
      ? `${product} ${published.version} is published on ${published.channel}: ${checked.files} files verified by re-download, ${signedText(checked.signatures)}`
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
  const { api, product } = await openPlace(invocation);
  const body = reason === undefined ? {} : { reason };
  const release = await api.call({ method: "POST", path: [...releasePath(product, invocation.args[0]), "withdraw"], body, schema: releaseSummarySchema });
  output.result(release);
  output.line(`${product} ${release.version} is withdrawn${release.replacement === null ? "" : `; customers are led to ${release.replacement}`}`);
  return 0;
};

/** Without --apply the plan is printed; with it the very same plan is sent back by its basis, and refused where anything changed since. */
export const runRetain: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  if (flagOption(options, "apply") && flagOption(options, "dryRun")) throw new SlipwayError("usage", "--apply and --dry-run exclude each other");
  const { api, product } = await openPlace(invocation);
  const path = ["products", product, "retention"];
  const plan = await api.call({ method: "GET", path, schema: retentionPlanSchema });
  const basis = textOption(options, "basis");
  if (basis !== undefined && basis !== plan.basis) {
    throw new SlipwayError("plan_stale", `the plan with basis ${basis.slice(0, 12)} is not the one of now (${plan.basis.slice(0, 12)})`);
  }
  printPlan(output, plan);
  if (!flagOption(options, "apply")) {
    output.result({ plan, applied: false });
    if (plan.retires.length > 0) output.line(`nothing was done; carry it out with: slipway release retain --product ${product} --apply --basis ${plan.basis}`);
    return 0;
  }
  const schema = z.object({ plan: retentionPlanSchema, quarantinedBytes: z.int() });
  const outcome = await api.call({ method: "POST", path, body: { basis: plan.basis }, schema, isRepeatable: false });
  output.result({ plan: outcome.plan, applied: true, quarantinedBytes: outcome.quarantinedBytes });
  output.line(`retired ${outcome.plan.retires.length} releases, ${formatBytes(outcome.quarantinedBytes)} will be freed`);
  return 0;
};

function printPlan(output: Output, plan: WireRetentionPlan): void {
  output.line(`retention of ${plan.product}: keep ${plan.keep}; basis ${plan.basis}`);
  output.line(`stays: ${plan.keeps.length === 0 ? "nothing" : plan.keeps.join(", ")}`);
  if (plan.retires.length === 0) {
    output.line("leaves: nothing");
    return;
  }
  output.table(
    ["LEAVES", "FILES", "SIZE", "REPLACED BY", "WHY"],
    plan.retires.map((one) => [one.version, String(one.files), formatBytes(one.bytes), one.replacement ?? "", one.why]),
  );
}

/** What a customer pastes into a shell for each of its tools: one block per client, filled with the pair's id. */
import type { GrantFormat } from "../model/grant.ts";
import {
  type ApkSetupKey,
  apkSetup,
  aptAuth,
  aptSources,
  awsSetup,
  endMark,
  netrcLine,
  type SetupPair,
  type SetupPlace,
  secretPlaceholder,
  yumRepo,
} from "./setup.ts";

export type SetupInput = {
  readonly place: SetupPlace;
  readonly pair: SetupPair;
  readonly apkKey: ApkSetupKey;
  /** The repository key; without it apt's block fetches it. */
  readonly armoredKey: string | undefined;
  /** The newest one, for the examples. */
  readonly version: string | undefined;
};

export type SetupBlock = { readonly client: SetupClient; readonly title: string; readonly text: string };

/** `format`: what it fetches. */
type ClientRow = { readonly title: string; readonly format: GrantFormat; readonly text: (input: SetupInput) => string };

/** Named in blocks that are printed without the secret: the shell asks for it once, and it stands in no history and no argument list. */
export const secretVariable = "SLIPWAY_SECRET";

/** One line of its own: pasted together with what follows, `read` would take the next line for the secret. */
export const askForSecret = `stty -echo; printf 'secret: '; read -r ${secretVariable}; stty echo; echo`;

const clientTable = {
  apt: { title: "apt (Debian, Ubuntu)", format: "deb", text: aptBlock },
  dnf: { title: "dnf (Fedora, RHEL and kin)", format: "rpm", text: dnfBlock },
  zypper: { title: "zypper (SUSE)", format: "rpm", text: zypperBlock },
  apk: {
    title: "apk (Alpine), in root's shell",
    format: "apk",
    text: (input) => `${apkSetup(input.place, input.pair, input.apkKey)}apk add -U ${input.place.product}\n`,
  },
  docker: { title: "docker", format: "oci", text: (input) => imageBlock("docker", input) },
  podman: { title: "podman", format: "oci", text: (input) => imageBlock("podman", input) },
  skopeo: { title: "skopeo", format: "oci", text: skopeoBlock },
  aws: {
    title: "aws (S3 and ECR commands; AWS CLI 2.13 and later also take AWS_ENDPOINT_URL)",
    format: "s3",
    text: (input) => awsSetup(input.place, input.pair),
  },
  curl: { title: "curl, wget and scripts, through ~/.netrc", format: "files", text: curlBlock },
  slipway: { title: "slipway upgrade: the source in the installation file, and the secret in a file of its own", format: "files", text: slipwayBlock },
} as const satisfies Readonly<Record<string, ClientRow>>;

export type SetupClient = keyof typeof clientTable;
export const setupClients = Object.keys(clientTable) as readonly SetupClient[];

/** Those that find something in these formats. */
export function clientsFor(formats: ReadonlySet<GrantFormat>): readonly SetupClient[] {
  return setupClients.filter((client) => formats.has(clientTable[client].format));
}

export function isSetupClient(word: string): word is SetupClient {
  return Object.hasOwn(clientTable, word);
}

/** In the order of the table; throws as setup.ts does. */
export function setupBlocks(input: SetupInput, clients: readonly SetupClient[] = setupClients): readonly SetupBlock[] {
  return clients.map((client) => ({ client, title: clientTable[client].title, text: clientTable[client].text(input) }));
}

const hostOf = (place: SetupPlace): string => new URL(place.baseUrl).host;

function intoFile(path: string, content: string, options: { readonly mode: "600" | "644"; readonly mark: string }): string {
  return `sudo install -D -m ${options.mode} /dev/stdin ${path} <<${options.mark}\n${content}END\n`;
}

function aptBlock({ place, pair, armoredKey }: SetupInput): string {
  const { product, baseUrl, channel } = place;
  const file = `/etc/apt/sources.list.d/${product}.sources`;
  const query = channel === "stable" ? "" : `?channel=${channel}`;
  const sources =
    armoredKey === undefined
      ? // From a here-document: a prompt would take the next pasted line for the secret.
        [
          `curl -fsS -K - '${baseUrl}/setup/${product}/${product}.sources${query}' <<${endMark(pair)} | sudo tee ${file} >/dev/null`,
          `user = "${pair.keyId}:${pair.secret ?? secretPlaceholder}"`,
          "END\n",
        ].join("\n")
      : intoFile(file, aptSources(place, armoredKey), { mode: "644", mark: "'END'" });
  return [
    intoFile(`/etc/apt/auth.conf.d/${product}.conf`, aptAuth(place, pair), { mode: "600", mark: endMark(pair) }),
    sources,
    `sudo apt-get update && sudo apt-get install ${product}\n`,
  ].join("");
}

function dnfBlock({ place, pair }: SetupInput): string {
  const file = `/etc/yum.repos.d/${place.product}.repo`;
  return `${intoFile(file, yumRepo(place, pair), { mode: "600", mark: endMark(pair) })}sudo dnf install ${place.product}\n`;
}

/** libzypp takes the pair from a file that the address names (zypper(8), credentials); the .repo is readable to all. */
function zypperBlock({ place, pair }: SetupInput): string {
  const { product, channel } = place;
  const name = `slipway-${product}`;
  const credentials = `username=${pair.keyId}\npassword=${pair.secret ?? "YOUR-SECRET"}\n`;
  const repo = yumRepo(place, pair)
    .replaceAll(/^(?:username|password|metadata_expire)=.*\n/gm, "")
    .replace(/^baseurl=.*$/m, (line) => `${line}?credentials=${name}`);
  return [
    intoFile(`/etc/zypp/credentials.d/${name}`, credentials, { mode: "600", mark: endMark(pair) }),
    intoFile(`/etc/zypp/repos.d/${product}-${channel}.repo`, repo, { mode: "644", mark: "'END'" }),
    `sudo zypper --gpg-auto-import-keys refresh ${product}-${channel} && sudo zypper install ${product}\n`,
  ].join("");
}

function imageBlock(program: "docker" | "podman", { place, pair, version }: SetupInput): string {
  const host = hostOf(place);
  const login = `${program} login --username ${pair.keyId} --password-stdin ${host} <<${endMark(pair)}\n${pair.secret ?? "YOUR-SECRET"}\nEND\n`;
  return `${login}${program} pull ${host}/${place.product}:${version ?? "VERSION"}\n`;
}

function skopeoBlock({ place, pair, version }: SetupInput): string {
  const host = hostOf(place);
  const login = `skopeo login --username ${pair.keyId} --password-stdin ${host} <<${endMark(pair)}\n${pair.secret ?? "YOUR-SECRET"}\nEND\n`;
  return `${login}skopeo inspect docker://${host}/${place.product}:${version ?? "VERSION"}\n`;
}

function curlBlock({ place, pair }: SetupInput): string {
  const { product, baseUrl } = place;
  return [
    `(umask 077; cat >> ~/.netrc <<${endMark(pair)}\n${netrcLine(place, pair)}END\n)\n`,
    `curl --fail --remote-name --netrc ${baseUrl}/releases/${product}/latest/SHA256SUMS\n`,
  ].join("");
}

function slipwayBlock({ place, pair }: SetupInput): string {
  const { product, baseUrl } = place;
  const secret = intoFile(`/etc/${product}/slipway-secret`, `${pair.secret ?? "YOUR-SECRET"}\n`, { mode: "600", mark: endMark(pair) });
  const source = `source:\n  url: ${baseUrl}\n  key_id: ${pair.keyId}\n  secret: file:/etc/${product}/slipway-secret\n`;
  return secret + source.replaceAll(/^/gm, "# ").replace(/# $/, "");
}

/** The set-up files of one product for one customer: apt's `.sources` and credentials, dnf's `.repo`, apk's script, and a first download. */
import { SlipwayError } from "../model/errors.ts";

export type SetupPlace = {
  /** Scheme, host and port, perhaps a path; no trailing slash, no credentials: `https://packages.coequal.example`. */
  readonly baseUrl: string;
  readonly product: string;
  readonly channel: string;
};

/** Secrets stand in what these functions return only where the caller passes them; `$NAME` is one that the shell fills in. */
export type SetupPair = { readonly keyId: string; readonly secret?: string };

/** The end mark of a here-document that holds the secret: quoted, unless the shell has to fill the secret in. */
export function endMark(pair: SetupPair): string {
  return pair.secret?.startsWith("$") === true ? "END" : "'END'";
}

/** What stands in the place of a secret that was not passed. */
export const secretPlaceholder = "YOUR-SECRET";

/**
 * The whole set-up of apt in one file: `/etc/apt/sources.list.d/<product>.sources` (deb822, sources.list(5), apt 2.4 and later), with the
 * armored repository key inside. The credentials stay out: apt shows this file to every user; they go into auth.conf.d.
 */
export function aptSources(place: SetupPlace, armoredKey: string): string {
  const root = checkedBase(place);
  const key = armoredKey.trimEnd().split("\n");
  if (key[0] !== "-----BEGIN PGP PUBLIC KEY BLOCK-----") throw new SlipwayError("key_invalid", "the repository key is not one armored OpenPGP public key");
  // deb822: a value goes on while lines start with a blank, and an empty line is written ` .`.
  const inlined = key.map((line) => ` ${line.trim() === "" ? "." : line.trimEnd()}`);
  return [
    `# ${place.product}, channel ${place.channel}. Credentials: /etc/apt/auth.conf.d/${place.product}.conf`,
    "Types: deb",
    `URIs: ${root}/apt/${place.product}`,
    `Suites: ${place.channel}`,
    "Components: main",
    "Signed-By:",
    ...inlined,
    "",
  ].join("\n");
}

/** The line for `/etc/apt/auth.conf.d/<product>.conf` (mode 0600, apt_auth.conf(5)). Plain HTTP is named, since apt sends no password over it otherwise. */
export function aptAuth(place: SetupPlace, pair: SetupPair): string {
  const root = checkedBase(place);
  const machine = root.startsWith("https://") ? root.slice("https://".length) : root;
  return `machine ${machine}/apt/${place.product} login ${word(pair.keyId)} password ${word(pair.secret ?? secretPlaceholder)}\n`;
}

/**
 * The set-up of dnf, yum and zypper: `/etc/yum.repos.d/<product>.repo` (mode 0600 once it holds the secret). Both signatures are asked
 * for: of the indexes (repo_gpgcheck, the repository key) and of every rpm (gpgcheck, the vendor's release key). The key URL is readable
 * without a pair, because dnf5 sends none for it.
 */
export function yumRepo(place: SetupPlace, pair: SetupPair): string {
  const root = checkedBase(place);
  return [
    `[${place.product}-${place.channel}]`,
    `name=${place.product} (${place.channel})`,
    `baseurl=${root}/yum/${place.product}/${place.channel}`,
    "enabled=1",
    "gpgcheck=1",
    "repo_gpgcheck=1",
    `gpgkey=${root}/keys/${place.product}.asc`,
    `username=${word(pair.keyId)}`,
    `password=${word(pair.secret ?? secretPlaceholder)}`,
    "metadata_expire=1h",
    "",
  ].join("\n");
}

/** What a customer's /etc/apk/keys holds: `keyFile` is its name there, `publicText` its PEM. */
export type ApkSetupKey = { readonly keyFile: string; readonly publicText: string };

/**
 * The set-up of apk as a script for root's shell, which may be run again: key, repository and credentials. The pair goes into root's
 * ~/.netrc (apk 2 and 3 read it when the server asks; /etc/apk/netrc they do not), because apk shows its repositories to every user.
 * Both take the first entry of a machine, so an older one is replaced.
 */
export function apkSetup(place: SetupPlace, pair: SetupPair, key: ApkSetupKey): string {
  const root = checkedBase(place);
  const pem = key.publicText.trimEnd();
  if (!/^slipway-[0-9a-f]{16}\.rsa\.pub$/.test(key.keyFile) || !/^-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+\n-----END PUBLIC KEY-----$/.test(pem))
    throw new SlipwayError("key_invalid", "the repository's apk key is not one PEM public key");
  const machine = new URL(root).hostname.replaceAll(/[.[\]]/g, "\\$&");
  return [
    "(umask 077; touch ~/.netrc",
    `{ grep -v '^machine ${machine} ' ~/.netrc; cat <<${endMark(pair)}`,
    `${netrcLine(place, pair)}END`,
    "} > ~/.netrc.new; mv ~/.netrc.new ~/.netrc)",
    `cat > /etc/apk/keys/${key.keyFile} <<'END'`,
    pem,
    "END",
    "mkdir -p /etc/apk/repositories.d",
    `echo '${root}/apk/${place.product}/${place.channel}' > /etc/apk/repositories.d/${place.product}-${place.channel}.list`,
    "",
  ].join("\n");
}

/** A plain download that keeps the secret out of argv and the shell's history: curl reads the pair from a netrc file. */
export function curlLine(place: SetupPlace, file: string): string {
  return `curl --fail --location --remote-name --netrc-file ~/.netrc ${checkedBase(place)}/releases/${place.product}/latest/${word(file)}`;
}

/** The matching line for `~/.netrc` (mode 0600). */
export function netrcLine(place: SetupPlace, pair: SetupPair): string {
  return `machine ${new URL(checkedBase(place)).hostname} login ${word(pair.keyId)} password ${word(pair.secret ?? secretPlaceholder)}\n`;
}

/**
 * The set-up of the AWS CLI: a credentials file of its own (mode 0600), the variables that lead to it, and the commands for packages and
 * images. The endpoint is an option, since releases before 2.13 do not read AWS_ENDPOINT_URL. Any region will do but
 * us-east-1: there `presign` of AWS CLI 1 signs with version 2, which nobody here reads.
 */
export function awsSetup(place: SetupPlace, pair: SetupPair): string {
  const root = checkedBase(place);
  const { product } = place;
  const aws = `aws --endpoint-url ${root}`;
  return [
    `install -D -m 600 /dev/stdin ~/.aws/${product}-credentials <<${endMark(pair)}`,
    "[default]",
    `aws_access_key_id = ${word(pair.keyId)}`,
    `aws_secret_access_key = ${word(pair.secret ?? secretPlaceholder)}`,
    "END",
    `export AWS_SHARED_CREDENTIALS_FILE=~/.aws/${product}-credentials AWS_DEFAULT_REGION=us-east-2`,
    `${aws} s3 ls s3://${product}/`,
    `${aws} s3 sync s3://${product}/deb /var/lib/${product}-apt --delete`,
    `${aws} s3 sync s3://${product}/rpm /var/lib/${product}-yum --delete`,
    `${aws} ecr get-login-password | docker login --username AWS --password-stdin ${new URL(root).host}`,
    "",
  ].join("\n");
}

/** The base address without a trailing slash; throws `setting_invalid` for one that carries credentials, a query, or is not http(s). */
function checkedBase(place: SetupPlace): string {
  const url = URL.canParse(place.baseUrl) ? new URL(place.baseUrl) : undefined;
  const isPlain = url !== undefined && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "" && url.search === "" && url.hash === "";
  if (!isPlain || /\s/.test(place.baseUrl)) throw new SlipwayError("setting_invalid", "the server's own address must be a plain http or https URL");
  return place.baseUrl.replace(/\/+$/, "");
}

/** One word of a line-based file: a blank or line end would start another setting. */
function word(text: string): string {
  if (!/^[!-~]+$/.test(text) || text.startsWith("#"))
    throw new SlipwayError("name_invalid", "key ids, secrets and file names are single words of visible ASCII");
  return text;
}

/** What customers' package managers say of a repository whose key is being changed: apt, dnf, zypper, and the strict verifier of apk indexes. */
import assert from "node:assert/strict";
import { createVerify } from "node:crypto";
import type { CommandResult } from "../../src/io/command.ts";
import { parseVersion } from "../../src/model/version.ts";
import { apkBytes, apkKey, signWith } from "../formats/apk-sample.ts";
import { gzipMembers, tarEntries, verifySignatures } from "../formats/apk-verifier.ts";
import { file, sampleSpec } from "../formats/sample.ts";
import { get, type Pair, publish, type RunningServer } from "../server/running-server.ts";
import type { AptRoot } from "../support/apt-root.ts";
import { credentialsName, type ZypperRoot } from "../support/zypper-root.ts";

/** A server, and who reads which product of it. */
export type Reading = { readonly running: RunningServer; readonly pair: Pair; readonly product: string };

/** A deb, an rpm and an apk. */
export async function publishPackages(running: RunningServer, product: string, version: string): Promise<void> {
  const entries = [file(`/usr/bin/${product}`, "#!/bin/sh\n", { mode: 0o755 })];
  const content = await apkBytes(sampleSpec({ name: product, version: parseVersion(version), entries }), { signControl: signWith(apkKey) });
  await publish(running, product, version, [{ name: `${product}_${version}_x86_64.apk`, content }]);
}

export async function textAt({ running, pair }: Pick<Reading, "running" | "pair">, path: string): Promise<string> {
  const answer = await get(running, path, pair);
  assert.equal(answer.status, 200, path);
  return answer.text();
}

/** apt's whole set-up, as the server gives it out at this moment. */
export const aptSetup = (reading: Reading): Promise<string> => textAt(reading, `/setup/${reading.product}/${reading.product}.sources`);

/** Every armored repository key, as it is given out at this moment. */
export const armoredKeys = async (reading: Reading): Promise<string> => (await textAt(reading, `/keys/${reading.product}.asc`)).replaceAll("\r", "");

/** Whether apt with this set-up takes the indexes as they are now, from an empty state. */
export async function aptAccepts(apt: AptRoot, reading: Reading, sources: string): Promise<boolean> {
  const { running, pair, product } = reading;
  await apt.writeAuth(`machine ${running.url}/apt/${product} login ${pair.id} password ${pair.secret}\n`);
  await apt.command(["rm", "-rf", "/var/lib/apt/lists"]);
  await apt.writeSource(sources);
  return accepted(await apt.run(["update", "--error-on=any"]), /NO_PUBKEY|Missing key|not signed/i);
}

function accepted(end: CommandResult, refusal: RegExp): boolean {
  // dnf 5 goes on without a repository that it refuses, and says so.
  if (end.exitCode === 0 && !/signature verification error/.test(end.stdout + end.stderr)) return true;
  assert.match(end.stdout + end.stderr, refusal, "it is refused for its signature and for nothing else");
  return false;
}

async function repoFile(reading: Reading, gpgkey: string): Promise<string> {
  const { product } = reading;
  const text = (await textAt(reading, `/setup/${product}/${product}.repo`)).replaceAll(/^(username|password)=.*\n?/gm, "");
  return text.replace(/^gpgkey=.*$/m, `gpgkey=${gpgkey}`).trim();
}

type RpmClient = { readonly run: (args: readonly string[]) => Promise<CommandResult>; readonly writeRepo: (text: string) => Promise<void> };

/** dnf 4 or 5. `gpgkey`: the server's address of it, or a file for a machine that was set up once and cannot fetch others. */
export async function dnfAccepts(dnf: RpmClient, reading: Reading, gpgkey: string): Promise<boolean> {
  const { pair } = reading;
  await dnf.writeRepo(`${await repoFile(reading, gpgkey)}\nusername=${pair.id}\npassword=${pair.secret}\n`);
  return accepted(await dnf.run(["makecache", "--refresh"]), /GPG|signature|key/i);
}

/** zypper; `mayImport`: it takes keys that it does not know from `gpgkey`. */
export async function zypperAccepts(zypper: ZypperRoot, reading: Reading, options: { readonly gpgkey: string; readonly mayImport: boolean }): Promise<boolean> {
  const repo = await repoFile(reading, options.gpgkey);
  await zypper.writeRepo(`${repo.replace(/^(baseurl=.*)$/m, `$1?credentials=${credentialsName}`)}\nautorefresh=1\n`, reading.pair);
  const refresh = ["refresh", "--force"];
  const end = options.mayImport ? await zypper.run(refresh) : await zypper.command(["zypper", "--non-interactive", "--root", "/target", ...refresh]);
  return accepted(end, /signature|key/i);
}

/** File name in /etc/apk/keys -> PEM. */
export type ApkKeys = Readonly<Record<string, string>>;

export type ApkIndex = {
  /** Every signature in its order; all keys must be known, and fit. */
  readonly signedBy: (keys: ApkKeys) => readonly string[];
  /** Whether a machine with these keys takes it: apk wants one signature by a key that it has (apk-tools, verification of v2 indexes). */
  readonly isAcceptedWith: (keys: ApkKeys) => boolean;
};

/** The apk index as it is now, taken apart by hand. */
export async function apkIndex(reading: Reading): Promise<ApkIndex> {
  const answer = await get(reading.running, `/apk/${reading.product}/stable/x86_64/APKINDEX.tar.gz`, reading.pair);
  assert.equal(answer.status, 200);
  const [signatures, index] = gzipMembers(Buffer.from(await answer.arrayBuffer()));
  assert.ok(signatures !== undefined && index !== undefined);
  const isAcceptedWith = (keys: ApkKeys): boolean =>
    tarEntries(signatures.plain, "without an end").some(({ name, content }) => {
      const key = keys[name.replace(/^\.SIGN\.RSA256\./, "")];
      return key !== undefined && createVerify("sha256").update(index.packed).verify(key, content);
    });
  return { signedBy: (keys) => verifySignatures(signatures, index, keys), isAcceptedWith };
}

/** The PEM that stands at `/keys/apk/<name>`. */
export const apkKeyText = (reading: Reading, name: string): Promise<string> => textAt(reading, `/keys/apk/${name}`);

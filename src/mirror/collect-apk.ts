/**
 * Reads one channel of an APK repository and proves it: each architecture's index by its RSA signature, each package by the identity that the
 * index gives (the SHA-1 of its control member, which names the SHA-256 of the data: as apk itself does).
 */
import { describeApkEntry, readApkIndex } from "../formats/apk-index-read.ts";
import { architectures } from "../model/target.ts";
import { verifyApkMember } from "../trust/apk-signature.ts";
import { addDocument, addFile, type Collected, type Collecting, readDocument, requirePlainPath, sha256Hex } from "./collect.ts";
import { requireApkKey } from "./keys.ts";
import { wantedWords } from "./settings.ts";

const indexLimit = 64 * 1024 * 1024;

/** Adds nothing for architectures that the channel has not. Throws `policy_invalid`, `signature_invalid`, `format_invalid`, `path_unsafe`. */
export async function collectApk(collecting: Collecting, channel: string, collected: Collected): Promise<void> {
  const { product, trust } = collecting;
  const words = wantedWords(collecting.selection, "apk") ?? new Set(Object.values(architectures).map(({ apk }) => apk));
  for (const arch of [...words].sort()) {
    const root = `apk/${product}/${channel}/${arch}`;
    const path = `${root}/APKINDEX.tar.gz`;
    const bytes = await readDocument(collecting, path, indexLimit);
    if (bytes === undefined) continue;
    requireApkKey(collecting);
    const index = await readApkIndex(bytes);
    verifyApkMember({ member: index.signedBytes, signatures: index.signatures }, trust.apk);
    await addDocument(collecting, collected, { path, bytes });
    collected.openers.set(path, sha256Hex(bytes));
    collected.marks.set(`apk/${product}/${channel}/${arch}`, index.epochSeconds);
    for (const stanza of index.stanzas) {
      const { identity, name, version, size } = describeApkEntry(stanza);
      const file = `${root}/${requirePlainPath(`${name}-${version}.apk`, path)}`;
      addFile(collected, { path: file, source: file, size, proof: { kind: "apk", identity }, immutable: true });
    }
  }
}

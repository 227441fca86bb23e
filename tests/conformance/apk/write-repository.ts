/** Writes the blessed packages of the tests with a signed index, and the keys, into a new folder: `node write-repository.ts <folder>`. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readApk } from "../../../src/formats/apk-read.ts";
import { bytesSource } from "../../../src/formats/byte-source.ts";
import { apkPath, apkStanza, emptyApk, renderApk, updateApk } from "../../../src/repositories/apk.ts";
import { apkBytes, apkKey, apkSamples, nextApkKey, signWith } from "../../formats/apk-sample.ts";

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("usage: node write-repository.ts <folder>");
const write = async (path: string, bytes: Uint8Array | string): Promise<void> => {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), bytes);
};
for (const { keyFile, publicText } of [apkKey, nextApkKey]) await write(`keys/${keyFile}`, publicText);
let state = emptyApk(["x86_64"]);
for (const spec of Object.values(apkSamples)) {
  const bytes = await apkBytes(spec, { signControl: signWith(apkKey) });
  const apk = await readApk(bytesSource(bytes));
  state = updateApk(state, { add: [apkStanza(apk)] });
  await write(`repository/${apkPath(apk, "x86_64")}`, bytes);
}
const view = { state, product: "toy", channel: "stable", now: new Date(1_780_000_000_000), sign: signWith(nextApkKey, apkKey) };
for (const file of await renderApk(view)) await write(`repository/${file.path}`, file.bytes);

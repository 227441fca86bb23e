/** Reads an uploaded deb, rpm or apk and makes what the indexes will say of it: once, at upload, kept with the artifact. */
import { z } from "zod";
import { readApk } from "../formats/apk-read.ts";
import { readDeb } from "../formats/deb-read.ts";
import type { ByteSource } from "../formats/package.ts";
import { readRpm } from "../formats/rpm-read.ts";
import { type Digest, digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type ApkEntry, apkPath, apkStanza } from "../repositories/apk.ts";
import { type AptEntry, aptStanza } from "../repositories/apt.ts";
import { type YumFragments, yumFragments } from "../repositories/yum-fragments.ts";
import type { BlobStore } from "../store/blobs.ts";

/** `path` is the URL path below the product's name's tree: `apt/pool/main/c/coequal/…`, `yum/stable/x86_64/…`, `apk/stable/x86_64/…`. */
export type DescribedPackage =
  | { readonly kind: "deb"; readonly path: string; readonly entry: AptEntry }
  | { readonly kind: "rpm"; readonly path: string; readonly fragments: YumFragments }
  | { readonly kind: "apk"; readonly path: string; readonly entry: ApkEntry };

const describedSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("deb"), path: z.string(), entry: z.strictObject({ arch: z.string(), stanza: z.string() }) }),
  z.strictObject({
    kind: z.literal("rpm"),
    path: z.string(),
    fragments: z.strictObject({ primary: z.string(), filelists: z.string(), other: z.string() }),
  }),
  z.strictObject({ kind: z.literal("apk"), path: z.string(), entry: z.strictObject({ arch: z.string(), stanza: z.string() }) }),
]);

/** Reads the column `artifacts.package`; throws `internal` where it is damaged. */
export function parseDescribedPackage(text: string): DescribedPackage {
  const parsed = describedSchema.safeParse(JSON.parse(text));
  if (!parsed.success) throw new SlipwayError("internal", `a stored package description is damaged: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

type Upload = {
  readonly name: string;
  readonly channel: string;
  readonly digest: Digest;
  readonly size: number;
  readonly now: Date;
  readonly blobs: Pick<BlobStore, "open">;
};

/** Undefined for a name that no package manager lists. Throws `format_invalid`, `format_limit` or `path_unsafe` for a package that is not sound. */
export async function describePackage(upload: Upload): Promise<DescribedPackage | undefined> {
  if (upload.name.endsWith(".deb")) return describeDeb(upload);
  if (upload.name.endsWith(".rpm")) return describeRpm(upload);
  if (upload.name.endsWith(".apk")) return describeApk(upload);
  return undefined;
}

/** A stored blob as the readers of packages want it. */
export function blobSource(blob: Pick<Upload, "blobs" | "digest" | "size">): ByteSource {
  return {
    size: blob.size,
    open: async function* () {
      yield* await blob.blobs.open(blob.digest);
    },
  };
}

async function describeDeb(upload: Upload): Promise<DescribedPackage> {
  const deb = await readDeb(blobSource(upload));
  const filename = `pool/main/${poolPrefix(deb.name)}/${deb.name}/${upload.name}`;
  const stanza = aptStanza(deb, { filename, sha256: digestHex(upload.digest) });
  return { kind: "deb", path: `apt/${filename}`, entry: { arch: deb.architecture, stanza } };
}

/** Debian's own layout of the pool: the first letter, for libraries the first four. */
function poolPrefix(packageName: string): string {
  return packageName.slice(0, packageName.startsWith("lib") && packageName.length > 3 ? 4 : 1);
}

async function describeRpm(upload: Upload): Promise<DescribedPackage> {
  const rpm = await readRpm(blobSource(upload));
  const href = `${rpm.arch}/${upload.name}`;
  const fragments = yumFragments(rpm, { href, sha256: digestHex(upload.digest), modifiedAt: upload.now });
  return { kind: "rpm", path: `yum/${upload.channel}/${href}`, fragments };
}

/** The index has no file names: apk makes the path from the package's own name and version, whatever the uploaded file is called. */
async function describeApk(upload: Upload): Promise<DescribedPackage> {
  const apk = await readApk(blobSource(upload));
  return { kind: "apk", path: `apk/${upload.channel}/${apkPath(apk, apk.info.arch)}`, entry: apkStanza(apk) };
}

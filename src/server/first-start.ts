/** The first admin token: made once, when the store has never had one, and written where only the server's owner can read it. */
import { access, rm } from "node:fs/promises";
import { join } from "node:path";
import { createAdminToken, hasAdminToken } from "../access/admin-tokens.ts";
import { syncDirectory, writeFileAtomic } from "../io/atomic-file.ts";
import type { Store } from "../store/store.ts";

export const adminTokenFileName = "admin-token";
/** Is there while the token is made: a server killed between record and file would otherwise lock everybody out. */
const pendingFileName = "admin-token.pending";

export type AdminTokenFile = { readonly path: string /** True where this start made it. */; readonly isNew: boolean };

/**
 * `<data-dir>/admin-token` (0600), or undefined where its owner has deleted it. The file may be deleted once its content is kept
 * elsewhere; it is never written again.
 */
export async function ensureAdminToken(store: Store): Promise<AdminTokenFile | undefined> {
  const pending = join(store.dataDir, pendingFileName);
  const path = join(store.dataDir, adminTokenFileName);
  if ((await hasAdminToken(store)) && !(await isThere(pending))) return (await isThere(path)) ? { path, isNew: false } : undefined;
  await writeFileAtomic(pending, "");
  const { token } = await createAdminToken(store, { name: "first", actor: { kind: "server" } });
  await writeFileAtomic(path, `${token}\n`, { mode: 0o600 });
  await rm(pending);
  await syncDirectory(store.dataDir);
  return { path, isNew: true };
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false; // ENOENT is the answer; any other fault shows when the file is written
  }
}

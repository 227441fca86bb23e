/** Admin tokens: what the vendor's side presents as a Bearer token; only their SHA-256 is stored. */
import { randomBytes } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { newId } from "../store/id.ts";
import type { Store } from "../store/store.ts";
import { secretDigest } from "./access-keys.ts";

export type AdminToken = {
  readonly id: string;
  readonly name: string;
  readonly createdAt: Date;
  readonly expiresAt: Date | undefined;
  readonly revokedAt: Date | undefined;
};

/** Secret scanners find a token by its prefix. */
export const adminTokenPrefix = "slipway_admin_";

/** Makes a token; the text is in the result and nowhere else. The server calls this on its first start, when hasAdminToken says no. */
export async function createAdminToken(
  store: Store,
  input: { readonly name: string; readonly expiresAt?: Date | undefined; readonly actor: AuditActor },
): Promise<{ readonly id: string; readonly token: string }> {
  const now = store.clock.now();
  const token = `${adminTokenPrefix}${randomBytes(32).toString("base64url")}`;
  const row = {
    id: newId(now),
    name: input.name,
    sha256: secretDigest(token).toString("hex"),
    created_at: now.getTime(),
    expires_at: input.expiresAt?.getTime() ?? null,
    revoked_at: null,
  };
  await store.db.transaction().execute(async (transaction) => {
    await transaction.insertInto("admin_tokens").values(row).execute();
    await appendAuditEvent(transaction, store, { actor: input.actor, action: "token.issue", result: "complete", detail: `${row.id} ${row.name}` });
  });
  store.changes.emit("credential", row.id);
  return { id: row.id, token };
}

/** True once any token was ever made, revoked ones included: a second "first token" must not appear by itself. */
export async function hasAdminToken(store: Store): Promise<boolean> {
  const row = await store.db.selectFrom("admin_tokens").select("id").limit(1).executeTakeFirst();
  return row !== undefined;
}

/** All tokens, newest first, without their text. */
export async function listAdminTokens(store: Store): Promise<readonly AdminToken[]> {
  const rows = await store.db.selectFrom("admin_tokens").selectAll().orderBy("id", "desc").execute();
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    createdAt: new Date(row.created_at),
    expiresAt: row.expires_at === null ? undefined : new Date(row.expires_at),
    revokedAt: row.revoked_at === null ? undefined : new Date(row.revoked_at),
  }));
}

/** Throws `not_found`. */
export async function revokeAdminToken(store: Store, input: { readonly id: string; readonly actor: AuditActor }): Promise<void> {
  await store.db.transaction().execute(async (transaction) => {
    const row = await transaction
      .updateTable("admin_tokens")
      .set({ revoked_at: store.clock.now().getTime() })
      .where("id", "=", input.id)
      .returning(["id", "name"])
      .executeTakeFirst();
    if (row === undefined) throw new SlipwayError("not_found", `there is no admin token "${input.id.slice(0, 40)}"`);
    await appendAuditEvent(transaction, store, { actor: input.actor, action: "token.revoke", result: "complete", detail: `${row.id} ${row.name}` });
  });
  store.changes.emit("credential", input.id);
}

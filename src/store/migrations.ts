/**
 * The database's history as a const list, and the runner that brings a database up to date on start-up, each migration once (C16).
 *
 * Several servers may start together: PostgreSQL serialises them with an advisory lock that ends with the transaction, SQLite with the
 * write lock that `begin immediate` takes. A database that knows more than this program is refused: an older server must not write to it.
 */
import { type Kysely, sql, type Transaction } from "kysely";
import { SlipwayError } from "../model/errors.ts";
import type { Dialect } from "./database.ts";
import type { Database } from "./schema.ts";

export type Migration = { readonly id: string; readonly statements: readonly string[] };

/** Append only: a published migration never changes. */
export const migrations: readonly Migration[] = [
  {
    id: "0001-first",
    statements: [
      `create table products (id text primary key, name text not null unique, keep integer not null, created_at bigint not null)`,
      `create table release_keys (product_id text not null references products (id), kind text not null, text text not null,
        created_at bigint not null, primary key (product_id, kind))`,
      `create table releases (id text primary key, product_id text not null references products (id), version text not null,
        channel text not null, state text not null, sequence bigint, sums_digest text, created_at bigint not null,
        published_at bigint, ended_at bigint, replacement text, unique (product_id, version))`,
      `create table artifacts (id text primary key, release_id text not null references releases (id), name text not null,
        digest text not null, size bigint not null, kind text not null, package text, created_at bigint not null, unique (release_id, name))`,
      `create index artifacts_by_digest on artifacts (digest)`,
      `create table artifact_paths (product_id text not null references products (id), path text not null,
        artifact_id text not null references artifacts (id), primary key (product_id, path))`,
      `create table snapshots (id text primary key, product_id text not null references products (id), created_at bigint not null,
        superseded_at bigint, valid_until bigint not null, views text not null)`,
      `create index snapshots_by_product on snapshots (product_id, superseded_at)`,
      `create table snapshot_files (snapshot_id text not null references snapshots (id), product_id text not null, path text not null,
        digest text not null, size bigint not null, media_type text not null, is_immutable integer not null, modified_at bigint not null,
        primary key (snapshot_id, path))`,
      `create index snapshot_files_by_path on snapshot_files (product_id, path)`,
      `create index snapshot_files_by_digest on snapshot_files (digest)`,
      `create table snapshot_blocks (snapshot_id text not null references snapshots (id), digest text not null, primary key (snapshot_id, digest))`,
      `create index snapshot_blocks_by_digest on snapshot_blocks (digest)`,
      `create table heads (product_id text primary key references products (id), snapshot_id text not null references snapshots (id),
        revision bigint not null)`,
      `create table customers (id text primary key, name text not null unique, created_at bigint not null)`,
      `create table access_keys (id text primary key, customer_id text not null references customers (id), created_at bigint not null,
        expires_at bigint, revoked_at bigint)`,
      `create index access_keys_by_customer on access_keys (customer_id)`,
      `create table access_key_secrets (access_key_id text not null references access_keys (id), generation integer not null,
        sha256 text not null, sealed text not null, created_at bigint not null, retires_at bigint, primary key (access_key_id, generation))`,
      `create table grants (access_key_id text not null references access_keys (id), product_id text not null references products (id),
        created_at bigint not null, primary key (access_key_id, product_id))`,
      `create table admin_tokens (id text primary key, name text not null, sha256 text not null unique, created_at bigint not null,
        expires_at bigint, revoked_at bigint)`,
      `create table server_keys (use text primary key, id text not null, public_text text not null, sealed_private text not null,
        created_at bigint not null)`,
      // No foreign keys and no cascade: an audit event outlives everything it names.
      `create table audit_events (id text primary key, at bigint not null, actor_kind text not null, actor_id text, actor_name text,
        customer text, key_id text, action text not null, product text, version text, artifact text, path text, protocol text, address text,
        client text, status integer, bytes bigint, result text not null, detail text)`,
      `create index audit_events_by_product on audit_events (product, id)`,
      `create index audit_events_by_customer on audit_events (customer, id)`,
    ],
  },
  {
    id: "0002-images",
    statements: [
      `create table oci_repositories (id text primary key, product_id text not null references products (id), name text not null unique,
        revision bigint not null, created_at bigint not null)`,
      `create index oci_repositories_by_product on oci_repositories (product_id)`,
      `create table oci_manifests (repository_id text not null references oci_repositories (id), digest text not null, blob text not null,
        size bigint not null, media_type text not null, artifact_type text, annotations text, subject text, created_at bigint not null,
        primary key (repository_id, digest))`,
      `create index oci_manifests_by_subject on oci_manifests (repository_id, subject)`,
      `create index oci_manifests_by_blob on oci_manifests (blob)`,
      `create table oci_edges (repository_id text not null, parent text not null, child text not null, kind text not null,
        primary key (repository_id, parent, child), foreign key (repository_id, parent) references oci_manifests (repository_id, digest))`,
      `create index oci_edges_by_child on oci_edges (repository_id, child)`,
      `create table oci_blobs (repository_id text not null references oci_repositories (id), digest text not null, blob text not null,
        size bigint not null, created_at bigint not null, primary key (repository_id, digest))`,
      `create index oci_blobs_by_blob on oci_blobs (blob)`,
      // A tag cannot name what is not there.
      `create table oci_tags (repository_id text not null, tag text not null, digest text not null, updated_at bigint not null,
        primary key (repository_id, tag), foreign key (repository_id, digest) references oci_manifests (repository_id, digest))`,
      `create index oci_tags_by_digest on oci_tags (repository_id, digest)`,
      `create table oci_uploads (id text primary key, repository_id text not null references oci_repositories (id), started_at bigint not null)`,
    ],
  },
  {
    id: "0003-audit-chain",
    statements: [
      `create table audit_chain (seq bigint primary key, event_id text not null unique, hash text not null)`,
      `create table audit_chain_head (id integer primary key, seq bigint not null, hash text not null)`,
      `insert into audit_chain_head (id, seq, hash) values (1, 0, '0000000000000000000000000000000000000000000000000000000000000000')`,
      `create table pull_rollups (day text not null, customer text not null, product text not null, version text not null,
        protocol text not null, pulls bigint not null, bytes bigint not null, addresses bigint not null, last_at bigint not null,
        primary key (day, customer, product, version, protocol))`,
      `create table rolled_days (day text primary key, rolled_at bigint not null)`,
      `create index audit_events_by_time on audit_events (at)`,
    ],
  },
  {
    id: "0004-notices",
    statements: [
      `create table advisories (id text primary key, product_id text not null references products (id), state text not null,
        severity text not null, fixed_in text not null, document text not null, revisions text not null, published_at bigint not null,
        updated_at bigint not null)`,
      `create index advisories_by_product on advisories (product_id, id)`,
      `create table notices (id text primary key, kind text not null, product text, version text, customer_id text references customers (id),
        due_at bigint not null, subject text not null, text text not null, dedupe_key text not null unique, created_at bigint not null,
        planned_at bigint)`,
      `create index notices_by_customer on notices (customer_id, id)`,
      `create index notices_waiting on notices (due_at) where planned_at is null`,
      `create table deliveries (id text primary key, transport text not null, target text not null, customer_id text references customers (id),
        payload text not null, state text not null, attempts integer not null, next_at bigint not null, leased_until bigint, lease text,
        last_error text, created_at bigint not null, ended_at bigint)`,
      `create index deliveries_waiting on deliveries (next_at) where state = 'pending'`,
      `create index deliveries_by_target on deliveries (target, id)`,
      `create table delivery_notices (delivery_id text not null references deliveries (id), notice_id text not null references notices (id),
        primary key (delivery_id, notice_id))`,
      `create index delivery_notices_by_notice on delivery_notices (notice_id)`,
      `create table webhooks (id text primary key, url text not null, kinds text not null, sealed_secret text not null, created_at bigint not null)`,
      `create table customer_contacts (customer_id text primary key references customers (id), mail text not null,
        unsubscribe_token text not null unique, created_at bigint not null)`,
      `create table unsubscriptions (customer_id text not null references customers (id), kind text not null, created_at bigint not null,
        primary key (customer_id, kind))`,
    ],
  },
  {
    id: "0005-channels-and-grants",
    statements: [
      `create table channels (product_id text not null references products (id), name text not null, rank integer not null,
        primary key (product_id, name))`,
      `create table release_channels (release_id text not null references releases (id), channel text not null, promoted_at bigint not null,
        rollout integer not null, salt text not null, is_bypass integer not null, primary key (release_id, channel))`,
      `create table rollout_members (release_id text not null references releases (id), channel text not null,
        customer_id text not null references customers (id), primary key (release_id, channel, customer_id))`,
      `create table retention_stages (release_id text primary key references releases (id), stage text not null,
        announced_at bigint not null, unlisted_at bigint)`,
      `create table retention_policies (product_id text primary key references products (id), announce_days integer not null,
        unlist_days integer not null, grace_days integer not null, keep_if_pulled_days integer, is_automatic integer not null)`,
      // What was published goes on in its channel, for everybody.
      `insert into release_channels (release_id, channel, promoted_at, rollout, salt, is_bypass)
        select id, channel, coalesce(published_at, created_at), 10000, id, 0 from releases where state <> 'draft'`,
      // The right belongs to the customer from now on, and a key only says which of his products it opens.
      `alter table grants rename to access_key_products`,
      `create table customer_grants (customer_id text not null references customers (id), product_id text not null references products (id),
        channel text, formats text, versions text, entitled_until bigint, lapse text not null, pin text, pin_until bigint,
        created_at bigint not null, changed_at bigint not null, primary key (customer_id, product_id))`,
      `insert into customer_grants (customer_id, product_id, lapse, created_at, changed_at)
        select access_keys.customer_id, access_key_products.product_id, 'keep', min(access_key_products.created_at), min(access_key_products.created_at)
        from access_key_products join access_keys on access_keys.id = access_key_products.access_key_id
        group by access_keys.customer_id, access_key_products.product_id`,
      `alter table access_keys add column allowed_from text`,
      `alter table releases add column reason text`,
      `alter table snapshots add column changed_at bigint`,
      `alter table snapshots add column base_id text`,
      `alter table snapshots add column view text not null default ''`,
      `alter table snapshots add column hidden text`,
      `create unique index snapshots_by_view on snapshots (base_id, view)`,
    ],
  },
  {
    id: "0010-tuf",
    statements: [
      `create table tuf_files (product_id text not null references products (id), repository text not null, role text not null,
        version integer not null, content text not null, created_at bigint not null, primary key (product_id, repository, role, version))`,
      `create table tuf_keys (product_id text not null references products (id), repository text not null, key_id text not null,
        sealed_private text not null, created_at bigint not null, primary key (product_id, key_id))`,
    ],
  },
  {
    id: "0011-rollout-and-compat",
    statements: [`alter table release_channels add column machines integer not null default 10000`, `alter table releases add column compat text`],
  },
  {
    id: "0013-repository-key-generations",
    statements: [
      `create table server_key_generations (use text not null, generation integer not null, id text not null, public_text text not null,
        sealed_private text not null, created_at bigint not null, retired_at bigint, retired_for text, primary key (use, generation))`,
      `insert into server_key_generations (use, generation, id, public_text, sealed_private, created_at)
        select use, 1, id, public_text, sealed_private, created_at from server_keys`,
      `drop table server_keys`,
      `alter table server_key_generations rename to server_keys`,
    ],
  },
  {
    id: "0014-key-suspicions",
    statements: [
      `create table key_suspicions (key_id text primary key references access_keys (id), score integer not null, reasons text not null,
        scored_at bigint not null, is_exempt integer not null, suspended_at bigint, suspended_for text)`,
    ],
  },
  // Indexes grow from the snapshot's own files.
  { id: "0017-no-index-blocks", statements: [`drop table snapshot_blocks`] },
  {
    id: "0018-tuf-targets",
    statements: [
      `create table tuf_targets (product_id text not null references products (id), path text not null, sha256 text not null, content text not null,
        created_at bigint not null, primary key (product_id, path, sha256))`,
    ],
  },
];

/** Any constant will do as long as every server uses the same; this one spells "slipway". */
const advisoryLock = 0x736c6970776179n;

async function lockForMigration(transaction: Transaction<Database>, dialect: Dialect): Promise<void> {
  if (dialect === "postgres") await sql`select pg_advisory_xact_lock(${sql.lit(advisoryLock.toString())}::bigint)`.execute(transaction);
}

/**
 * Applies what is missing, all in one transaction, and returns the ids that this call applied.
 * Throws `conflict` for a database of a newer Slipway; on any failure the database is as before.
 */
export async function migrate(db: Kysely<Database>, dialect: Dialect, list: readonly Migration[] = migrations): Promise<readonly string[]> {
  return db.transaction().execute(async (transaction) => {
    await lockForMigration(transaction, dialect);
    await sql`create table if not exists schema_migrations (id text primary key, applied_at bigint not null)`.execute(transaction);
    const { rows } = await sql<{ id: string }>`select id from schema_migrations`.execute(transaction);
    const done = new Set(rows.map((row) => row.id));
    const unknown = [...done].filter((id) => !list.some((migration) => migration.id === id));
    if (unknown.length > 0) {
      throw new SlipwayError("conflict", `the database has migrations that this version does not know: ${unknown.join(", ")}`, {
        detail: "database_newer",
        hint: "start the newer Slipway that wrote this database, or restore the backup made before it",
      });
    }
    const applied: string[] = [];
    for (const migration of list) {
      if (done.has(migration.id)) continue;
      for (const statement of migration.statements) await sql.raw(statement).execute(transaction);
      await sql`insert into schema_migrations (id, applied_at) values (${migration.id}, ${Date.now()})`.execute(transaction);
      applied.push(migration.id);
    }
    return applied;
  });
}

/** What this program knows and the database does not, and the other way round; both are empty where they fit together. */
export async function compareMigrations(db: Kysely<Database>): Promise<{ readonly missing: readonly string[]; readonly unknown: readonly string[] }> {
  const { rows } = await sql<{ id: string }>`select id from schema_migrations`.execute(db);
  const done = new Set(rows.map((row) => row.id));
  const known = migrations.map((migration) => migration.id);
  return { missing: known.filter((id) => !done.has(id)), unknown: [...done].filter((id) => !known.includes(id)) };
}

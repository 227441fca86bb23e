/**
 * The tables as types: one DDL for SQLite and PostgreSQL.
 *
 * The common subset: text ids (sortable by time), instants as bigint milliseconds since 1970, JSON as text, flags as 0/1 integers.
 * Names are stored beside ids where a record must outlive what it names (audit_events): nothing there is a foreign key.
 */
import type { Digest } from "../model/digest.ts";
import type { Version } from "../model/version.ts";
import type { AuditChainHeadTable, AuditChainTable, AuditEventTable, PullRollupTable, RolledDayTable } from "./audit-tables.ts";
import type { ChannelTable, ReleaseChannelTable, RetentionPolicyTable, RetentionStageTable, RolloutMemberTable } from "./channel-tables.ts";
import type { AccessKeyProductTable, CustomerGrantTable } from "./grant-tables.ts";
import type {
  AdvisoryTable,
  CustomerContactTable,
  DeliveryNoticeTable,
  DeliveryTable,
  NoticeTable,
  UnsubscriptionTable,
  WebhookTable,
} from "./notice-tables.ts";
import type { KeySuspicionTable } from "./suspicion-table.ts";
import type { TufFileTable, TufKeyTable, TufTargetTable } from "./tuf-tables.ts";

export const releaseStates = ["draft", "published", "withdrawn", "retired"] as const;
export type ReleaseState = (typeof releaseStates)[number];

export type ProductTable = {
  id: string;
  name: string;
  /** How many published stable versions stay (C6); previews are counted apart. */
  keep: number;
  created_at: number;
};

/** The vendor's public release keys; they verify releases and are published under /keys. */
export type ReleaseKeyTable = {
  product_id: string;
  kind: "openpgp" | "minisign" | "apk";
  text: string;
  created_at: number;
};

export type ReleaseTable = {
  id: string;
  product_id: string;
  version: Version;
  channel: string;
  state: ReleaseState;
  /** From the manifest, known once published. */
  sequence: number | null;
  sums_digest: Digest | null;
  created_at: number;
  published_at: number | null;
  /** When it was withdrawn or retired. */
  ended_at: number | null;
  /** The version that an answer 410 names. */
  replacement: Version | null;
  /** Why it was withdrawn, for its readers. */
  reason: string | null;
  /** What its manifest promises about upgrades, as JSON; null for drafts, for one that promises nothing, and where it was published before this was kept. */
  compat: string | null;
};

export type ArtifactTable = {
  id: string;
  release_id: string;
  name: string;
  digest: Digest;
  size: number;
  /** `deb`, `rpm` or `apk` where package managers list it, else `file`. */
  kind: "deb" | "rpm" | "apk" | "file";
  /** JSON: what src/repositories needs to list the package, made once at upload. Null for `file`. */
  package: string | null;
  created_at: number;
};

/** Where an artifact appears in the views besides /releases: `apt/pool/…`, `yum/stable/x86_64/…`, `apk/stable/noarch/…`. Written when its release is published. */
export type ArtifactPathTable = {
  product_id: string;
  path: string;
  artifact_id: string;
};

/** One immutable set of all index files of a product. */
export type SnapshotTable = {
  id: string;
  product_id: string;
  created_at: number;
  superseded_at: number | null;
  /** When the signed indexes expire; the refresh comes well before. */
  valid_until: number;
  /** JSON: what the next snapshot grows from, per view and channel (src/repositories, index-blocks.ts). */
  views: string;
  /** Whole seconds since 1970 that grow from head to head; null before customer views were known. */
  changed_at: number | null;
  /** A customer view: the head that it was made from, and which of its releases are left out (customer-view.ts). Empty for a head. */
  base_id: string | null;
  view: string;
  /** JSON. */
  hidden: string | null;
};

export type SnapshotFileTable = {
  snapshot_id: string;
  product_id: string;
  path: string;
  digest: Digest;
  size: number;
  media_type: string;
  /** Named by its own checksum: stays readable while any kept snapshot has it. */
  is_immutable: number;
  modified_at: number;
};

/** The one switch: which snapshot a product's readers see. */
export type HeadTable = {
  product_id: string;
  snapshot_id: string;
  /** Grows by one with each switch; the compare-and-swap compares it. */
  revision: number;
};

export type CustomerTable = {
  id: string;
  name: string;
  created_at: number;
};

export type AccessKeyTable = {
  id: string;
  customer_id: string;
  created_at: number;
  expires_at: number | null;
  revoked_at: number | null;
  /** Networks that it may be used from, separated by commas; null: anywhere. */
  allowed_from: string | null;
};

/** One or two live secrets of a key: while both live, the old one has `retires_at`. */
export type AccessKeySecretTable = {
  access_key_id: string;
  generation: number;
  /** Hex. */
  sha256: string;
  /** AES-256-GCM envelope: SigV4 needs the secret back. */
  sealed: string;
  created_at: number;
  retires_at: number | null;
};

export type AdminTokenTable = {
  id: string;
  name: string;
  /** Hex of SHA-256 over the whole token. */
  sha256: string;
  created_at: number;
  expires_at: number | null;
  revoked_at: number | null;
};

/** The server's own key pairs; the private half is sealed with the key-encryption key. */
export type ServerKeyTable = {
  use: "repository" | "repository-apk";
  /** 1, then one more with each rotation; while two live, both sign. */
  generation: number;
  id: string;
  public_text: string;
  /** Empty once the key is retired. */
  sealed_private: string;
  created_at: number;
  retired_at: number | null;
  /** Why it left: `rotated`, or the reason of a revocation. */
  retired_for: string | null;
};

/** An image repository: `<product>` or `<product>/<image>`. */
export type OciRepositoryTable = {
  id: string;
  product_id: string;
  name: string;
  /** Grows by one with every change of its manifests and tags; the change locks this row first. */
  revision: number;
  created_at: number;
};

/** A manifest or an index in a repository, under the digest that it was pushed with (SHA-256 or SHA-512). */
export type OciManifestTable = {
  repository_id: string;
  digest: string;
  /** Where its bytes are: the blob of the same bytes. */
  blob: Digest;
  size: number;
  media_type: string;
  /** As it is listed among referrers. */
  artifact_type: string | null;
  /** JSON, of manifests with a subject alone: they are listed with them. */
  annotations: string | null;
  /** Digest of the manifest that this one refers to; it may not be there. */
  subject: string | null;
  created_at: number;
};

/** What a manifest is made of; the child may be missing where its bytes may not be distributed. */
export type OciEdgeTable = {
  repository_id: string;
  parent: string;
  child: string;
  kind: "manifest" | "blob";
};

/** A blob that a repository may be asked for, under the digest that it was pushed with. */
export type OciBlobTable = {
  repository_id: string;
  digest: string;
  blob: Digest;
  size: number;
  created_at: number;
};

export type OciTagTable = {
  repository_id: string;
  tag: string;
  digest: string;
  updated_at: number;
};

/** An upload session and the repository that it was begun in; its bytes are the blob store's. */
export type OciUploadTable = {
  id: string;
  repository_id: string;
  started_at: number;
};

export type Database = {
  tuf_files: TufFileTable;
  tuf_keys: TufKeyTable;
  tuf_targets: TufTargetTable;
  products: ProductTable;
  release_keys: ReleaseKeyTable;
  releases: ReleaseTable;
  artifacts: ArtifactTable;
  artifact_paths: ArtifactPathTable;
  snapshots: SnapshotTable;
  snapshot_files: SnapshotFileTable;
  heads: HeadTable;
  customers: CustomerTable;
  access_keys: AccessKeyTable;
  access_key_secrets: AccessKeySecretTable;
  customer_grants: CustomerGrantTable;
  access_key_products: AccessKeyProductTable;
  channels: ChannelTable;
  release_channels: ReleaseChannelTable;
  rollout_members: RolloutMemberTable;
  retention_stages: RetentionStageTable;
  retention_policies: RetentionPolicyTable;
  admin_tokens: AdminTokenTable;
  server_keys: ServerKeyTable;
  key_suspicions: KeySuspicionTable;
  audit_events: AuditEventTable;
  audit_chain: AuditChainTable;
  audit_chain_head: AuditChainHeadTable;
  pull_rollups: PullRollupTable;
  rolled_days: RolledDayTable;
  oci_repositories: OciRepositoryTable;
  oci_manifests: OciManifestTable;
  oci_edges: OciEdgeTable;
  oci_blobs: OciBlobTable;
  oci_tags: OciTagTable;
  oci_uploads: OciUploadTable;
  advisories: AdvisoryTable;
  notices: NoticeTable;
  deliveries: DeliveryTable;
  delivery_notices: DeliveryNoticeTable;
  webhooks: WebhookTable;
  customer_contacts: CustomerContactTable;
  unsubscriptions: UnsubscriptionTable;
};

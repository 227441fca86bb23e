/** Tables of the TUF view: every metadata file as it was signed, what the targets role itself lists, and the server's own keys. */

export type TufFileTable = {
  product_id: string;
  /** Root, snapshot and timestamp belong to one of the two; the targets roles to both. */
  repository: "online" | "offline" | "both";
  /** `root`, `timestamp`, `snapshot`, `targets`, or a channel's role. */
  role: string;
  version: number;
  /** The signed bytes, UTF-8. */
  content: string;
  created_at: number;
};

/** A pair of the server for snapshot and timestamp; the one that the current root names signs. */
export type TufKeyTable = {
  product_id: string;
  repository: "online" | "offline";
  key_id: string;
  sealed_private: string;
  created_at: number;
};

/** A file that the targets role itself lists: no release has it. */
export type TufTargetTable = {
  product_id: string;
  /** `trust/sigstore/trusted_root.json` */
  path: string;
  /** 64 hex digits. */
  sha256: string;
  /** UTF-8. */
  content: string;
  created_at: number;
};

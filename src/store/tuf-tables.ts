/** Tables of the TUF view: every metadata file as it was signed, and the server's own keys. */

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

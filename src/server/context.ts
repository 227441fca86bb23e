/** What every route works with: the opened store and the services over it, made once at start (server.ts) and passed on. */
import type { AuditTrail } from "../access/audit-trail.ts";
import type { Authenticator } from "../access/authenticator.ts";
import type { PairPace } from "../access/pair-pace.ts";
import type { Settings } from "../config/settings.ts";
import type { BucketLeases } from "../releases/bucket-leases.ts";
import type { BucketCatalog } from "../releases/bucket-tree.ts";
import type { Listings } from "../releases/listing.ts";
import type { ImageCatalog } from "../releases/oci-view.ts";
import type { RepositoryKey } from "../releases/repository-key.ts";
import type { DownloadResolver } from "../releases/resolve.ts";
import type { KeyEncryptionKey } from "../store/key-encryption-key.ts";
import type { Store } from "../store/store.ts";
import type { BufferBudget } from "./buffer-budget.ts";
import type { ByteCache } from "./byte-cache.ts";
import type { CheckInPace } from "./check-in-pace.ts";
import type { Log } from "./log.ts";
import type { LoginThrottle } from "./login-throttle.ts";
import type { Metrics } from "./metrics.ts";
import type { NoticeContext } from "./notice-context.ts";
import type { OpenedTokens } from "./oci-token.ts";
import type { RoutedPaths } from "./routed-paths.ts";

export type ServerContext = {
  readonly settings: Settings;
  readonly version: string;
  readonly store: Store;
  readonly kek: KeyEncryptionKey;
  readonly repositoryKey: RepositoryKey;
  readonly authenticator: Authenticator;
  readonly audit: AuditTrail;
  readonly resolver: DownloadResolver;
  /** What of a product is published now: for feeds and the portal. */
  readonly listings: Listings;
  readonly images: ImageCatalog;
  readonly buckets: BucketCatalog;
  readonly bucketLeases: BucketLeases;
  readonly cache: ByteCache;
  readonly budget: BufferBudget;
  readonly throttle: LoginThrottle;
  /** Of pairs that the abuse round slowed down. */
  readonly pace: PairPace;
  readonly checkInPace: CheckInPace;
  readonly openedTokens: OpenedTokens;
  readonly routedPaths: RoutedPaths;
  readonly metrics: Metrics;
  readonly notices: NoticeContext;
  readonly log: Log;
  /** True from the moment the server was told to stop: readiness fails, running downloads go on. */
  readonly isStopping: () => boolean;
};

/** The table of all routes: the server, the OpenAPI document and docs/reference/http.md derive from it. */
import { abuseRoutes } from "./abuse-routes.ts";
import { advisoryRoutes } from "./advisory-routes.ts";
import { auditRoutes } from "./audit-routes.ts";
import { channelRoutes } from "./channel-routes.ts";
import { checkInRoutes } from "./check-in-routes.ts";
import { customerRoutes } from "./customer-routes.ts";
import { downloadRoutes } from "./download-routes.ts";
import { feedRoutes } from "./feed-routes.ts";
import { grantRoutes } from "./grant-routes.ts";
import { noticeRoutes } from "./notice-routes.ts";
import { operationRoutes } from "./operation-routes.ts";
import { portalRoutes } from "./portal-routes.ts";
import { productRoutes } from "./product-routes.ts";
import { releaseRoutes } from "./release-routes.ts";
import { repositoryKeyRoutes } from "./repository-key-routes.ts";
import { retentionRoutes } from "./retention-routes.ts";
import type { RouteRow } from "./route.ts";
import { setupRoutes } from "./setup-routes.ts";
import { tufRoutes } from "./tuf-routes.ts";
import { uploadRoutes } from "./upload-routes.ts";

export const routes: readonly RouteRow[] = [
  ...downloadRoutes,
  ...checkInRoutes,
  ...tufRoutes,
  ...setupRoutes,
  ...productRoutes,
  ...uploadRoutes,
  ...releaseRoutes,
  ...channelRoutes,
  ...retentionRoutes,
  ...repositoryKeyRoutes,
  ...abuseRoutes,
  ...customerRoutes,
  ...grantRoutes,
  ...auditRoutes,
  ...advisoryRoutes,
  ...feedRoutes,
  ...noticeRoutes,
  ...portalRoutes,
  ...operationRoutes,
];

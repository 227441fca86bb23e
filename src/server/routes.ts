/** The table of all routes: the server, the OpenAPI document and docs/reference/http.md derive from it. */
import { customerRoutes } from "./customer-routes.ts";
import { downloadRoutes } from "./download-routes.ts";
import { operationRoutes } from "./operation-routes.ts";
import { productRoutes } from "./product-routes.ts";
import { releaseRoutes } from "./release-routes.ts";
import type { RouteRow } from "./route.ts";
import { setupRoutes } from "./setup-routes.ts";
import { uploadRoutes } from "./upload-routes.ts";

export const routes: readonly RouteRow[] = [
  ...downloadRoutes,
  ...setupRoutes,
  ...productRoutes,
  ...uploadRoutes,
  ...releaseRoutes,
  ...customerRoutes,
  ...operationRoutes,
];

/**
 * The HTTP server: opens what a data folder holds and the services over it, listens, and stops without breaking off a download.
 */
import type { AddressInfo } from "node:net";
import type { FastifyInstance } from "fastify";
import { openAuditTrail } from "../access/audit-trail.ts";
import { createAuthenticator } from "../access/authenticator.ts";
import { createPairPace } from "../access/pair-pace.ts";
import type { Settings } from "../config/settings.ts";
import type { Clock } from "../io/clock.ts";
import { createBucketLeases } from "../releases/bucket-leases.ts";
import { createBucketCatalog } from "../releases/bucket-tree.ts";
import { createCustomerViews } from "../releases/customer-view.ts";
import { createListings } from "../releases/listing.ts";
import { createImageCatalog } from "../releases/oci-view.ts";
import { openRepositoryKey } from "../releases/repository-key.ts";
import { createDownloadResolver } from "../releases/resolve.ts";
import { openKeyEncryptionKey } from "../store/key-encryption-key.ts";
import { openStore } from "../store/store.ts";
import { buildApp } from "./app.ts";
import { createBufferBudget } from "./buffer-budget.ts";
import { createByteCache } from "./byte-cache.ts";
import { createCheckInPace } from "./check-in-pace.ts";
import type { ServerContext } from "./context.ts";
import { type AdminTokenFile, ensureAdminToken } from "./first-start.ts";
import type { Log } from "./log.ts";
import { createLoginThrottle } from "./login-throttle.ts";
import { createMetrics } from "./metrics.ts";
import { openNoticeContext } from "./notice-context.ts";
import { createOpenedTokens } from "./oci-token.ts";
import { startNoticeRounds } from "./notice-rounds.ts";
import { startRounds } from "./rounds.ts";
import { createRoutedPaths } from "./routed-paths.ts";
import { smallBodyLimit } from "./send.ts";

export type ServerOptions = {
  readonly settings: Settings;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Process metrics hook into the runtime once per process; off where many servers run in one process. */
  readonly areProcessMetricsOn?: boolean;
};

export type Server = {
  readonly context: ServerContext;
  readonly app: FastifyInstance;
  /** Starts to listen; resolves with the address, `http://127.0.0.1:8420`. */
  readonly listen: () => Promise<string>;
  /** The file that holds the first admin token, while it is there. */
  readonly adminTokenFile: AdminTokenFile | undefined;
  /** Takes nothing new, lets running downloads end within the stop time-out, flushes the audit trail, closes the store. May be called twice. */
  readonly stop: () => Promise<void>;
};

const closeIdleEveryMs = 50;

/** Opens the store, the keys and the services; makes what a first start needs. Listens only when told to. */
export async function createServer(options: ServerOptions): Promise<Server> {
  const { settings, clock } = options;
  const store = await openStore({
    dataDir: settings.dataDir,
    clock,
    blobSizeLimit: settings.uploadLimit,
    diskReserve: settings.diskReserve,
    ...(settings.databaseUrl === "" ? {} : { databaseUrl: settings.databaseUrl }),
  });
  try {
    const kek = await openKeyEncryptionKey({ dataDir: settings.dataDir, ...(settings.keyEncryptionKey === "" ? {} : { setting: settings.keyEncryptionKey }) });
    const repositoryKey = await openRepositoryKey(store, kek);
    const adminTokenFile = await ensureAdminToken(store);
    const state = { isStopping: false };
    const audit = openAuditTrail(store);
    const views = createCustomerViews(store, repositoryKey);
    const context: ServerContext = {
      settings,
      version: options.version,
      store,
      kek,
      repositoryKey,
      authenticator: createAuthenticator(store),
      audit,
      resolver: createDownloadResolver(store, views),
      listings: createListings(store),
      images: createImageCatalog(store),
      buckets: createBucketCatalog(store, repositoryKey, views),
      bucketLeases: createBucketLeases(),
      cache: createByteCache({ limitBytes: settings.cacheMemory, largestBytes: smallBodyLimit }),
      budget: createBufferBudget(settings.downloadMemory),
      throttle: createLoginThrottle(),
      pace: createPairPace(),
      checkInPace: createCheckInPace(),
      openedTokens: createOpenedTokens(),
      routedPaths: createRoutedPaths(),
      metrics: createMetrics({
        version: options.version,
        dialect: store.dialect,
        areProcessMetricsOn: options.areProcessMetricsOn ?? true,
        auditQueue: audit.pending,
      }),
      notices: openNoticeContext(settings, kek),
      log: options.log,
      isStopping: () => state.isStopping,
    };
    const app = await buildApp(context);
    let endRounds = (): Promise<unknown> => Promise.resolve();
    const stop = onceOnly(async () => {
      state.isStopping = true;
      await closeApp(app, settings.stopTimeout, options.log);
      await endRounds();
      context.notices.close();
      await audit.close();
      context.resolver.close();
      context.listings.close();
      context.images.close();
      context.buckets.close();
      context.authenticator.close();
      await store.close();
    });
    const listen = async (): Promise<string> => {
      await app.listen({ host: settings.listen.host, port: settings.listen.port });
      const ends = [startRounds(context), startNoticeRounds(context)];
      endRounds = () => Promise.all(ends.map((end) => end()));
      return listeningAddress(app);
    };
    return { context, app, listen, adminTokenFile, stop };
  } catch (error) {
    await store.close();
    throw error;
  }
}

function onceOnly(act: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => (running ??= act());
}

function listeningAddress(app: FastifyInstance): string {
  const { address, family, port } = app.server.address() as AddressInfo;
  const host = address === "::" || address === "0.0.0.0" ? "127.0.0.1" : address;
  return `http://${family === "IPv6" && host !== "127.0.0.1" ? `[${host}]` : host}:${port}`;
}

/** Ends the listening socket and idle connections now, running requests within the limit, and the rest by force. */
async function closeApp(app: FastifyInstance, limitMs: number, log: Log): Promise<void> {
  const timer = setTimeout(() => {
    log.warn({ event: "stop_forced", afterMs: limitMs });
    app.server.closeAllConnections();
  }, limitMs);
  // A connection whose download ends now would wait for its next request; the promise to keep it alive was given before the stop.
  const idle = setInterval(() => app.server.closeIdleConnections(), closeIdleEveryMs);
  try {
    await app.close();
  } finally {
    clearTimeout(timer);
    clearInterval(idle);
  }
}

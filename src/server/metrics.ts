/** The server's metrics in Prometheus' text form; names follow its naming guide (base units, `_total` for counters). */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export type Metrics = {
  readonly requestEnded: (request: { readonly method: string; readonly route: string; readonly status: number; readonly seconds: number }) => void;
  readonly bytesSent: (protocol: string, bytes: number) => void;
  readonly downloadStarted: () => () => void;
  readonly bytesReceived: (bytes: number) => void;
  readonly uploadStarted: () => () => void;
  readonly loginFailed: (isLimited: boolean) => void;
  readonly render: () => Promise<string>;
  readonly contentType: string;
};

/** One registry per server, so that two servers in one process (tests) do not share numbers. */
export function createMetrics(options: {
  readonly version: string;
  readonly dialect: string;
  readonly areProcessMetricsOn: boolean;
  /** How many audit events wait for the disk. */
  readonly auditQueue: () => number;
}): Metrics {
  const registry = new Registry();
  const registers = [registry];
  if (options.areProcessMetricsOn) collectDefaultMetrics({ register: registry });
  new Gauge({ name: "slipway_build", help: "1, with the version as a label", labelNames: ["version", "database"], registers }).set(
    { version: options.version, database: options.dialect },
    1,
  );
  const requests = new Counter({ name: "slipway_http_requests_total", help: "Requests answered", labelNames: ["method", "route", "status"], registers });
  const durations = new Histogram({
    name: "slipway_http_request_duration_seconds",
    help: "Time from the request's head to the response's last byte",
    labelNames: ["route"],
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600],
    registers,
  });
  const sent = new Counter({ name: "slipway_download_bytes_total", help: "Body bytes sent to customers", labelNames: ["protocol"], registers });
  const downloads = new Gauge({ name: "slipway_downloads_running", help: "Downloads running now", registers });
  const received = new Counter({ name: "slipway_upload_bytes_total", help: "Body bytes of uploads taken in", registers });
  const uploads = new Gauge({ name: "slipway_uploads_running", help: "Uploads running now", registers });
  const audit: Gauge = new Gauge({
    name: "slipway_audit_queue",
    help: "Audit events that are not durable yet",
    registers,
    collect: () => audit.set(options.auditQueue()),
  });
  const logins = new Counter({ name: "slipway_login_failures_total", help: "Wrong credentials presented", labelNames: ["limited"], registers });
  return {
    requestEnded: ({ method, route, status, seconds }) => {
      requests.inc({ method, route, status });
      durations.observe({ route }, seconds);
    },
    bytesSent: (protocol, bytes) => sent.inc({ protocol }, bytes),
    downloadStarted: () => counted(downloads),
    bytesReceived: (bytes) => received.inc(bytes),
    uploadStarted: () => counted(uploads),
    loginFailed: (isLimited) => logins.inc({ limited: String(isLimited) }),
    render: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

/** Up by one now, down by one when the returned function is called. */
function counted(gauge: Gauge): () => void {
  gauge.inc();
  return () => gauge.dec();
}

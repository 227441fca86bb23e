/** The server's log: one JSON line per event on stderr, each with a constant `event`; what an auditor needs is in the audit trail instead. */
import pino, { type DestinationStream, type Logger } from "pino";
import type { logLevels } from "../config/settings.ts";

export type Log = Logger;

/** Never logged, wherever an object brings it along. */
const redacted = ["authorization", "headers.authorization", "*.authorization", "secret", "*.secret", "token", "*.token", "databaseUrl"];

export function createLog(level: (typeof logLevels)[number], destination: DestinationStream = pino.destination({ fd: 2, sync: true })): Log {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: "text",
      redact: { paths: redacted, censor: "[removed]" },
    },
    destination,
  );
}

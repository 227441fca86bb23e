/** An event as callers get it: the same object in a WebSocket frame and in the data of a server-sent event. */
import type { AgentEvent } from "./agent.ts";
import { operationView } from "./operation.ts";
import type { Caller } from "./roles.ts";
import { progressView } from "./view.ts";

export function eventFrame(event: AgentEvent, caller: Caller): Readonly<Record<string, unknown>> {
  const { seq, at, operation } = event;
  const head = { event: event.event, seq, at, operation };
  switch (event.event) {
    case "update.progress":
      return { ...head, data: progressView(event.data, caller) };
    case "update.operation":
      return { ...head, data: operationView(event.subject, caller) };
    default:
      return { ...head, data: { installed: event.check.installed, channel: event.check.channel, offer: event.check.offer } };
  }
}

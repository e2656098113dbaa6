import type { EventRow, WebhookEventType } from "../db/webhook-rows.ts";
import type { EnabledEndpoint } from "./endpoint-store.ts";

export const eventTypes = [
  "task.completed",
  "task.failed",
  "task.cancelled",
] as const satisfies readonly WebhookEventType[];

/** What an endpoint is told of that names nothing, and an address that a submit names. */
export const defaultEventTypes: readonly WebhookEventType[] = ["task.completed", "task.failed"];

/** As the column keeps them. */
export function joinEventTypes(types: readonly WebhookEventType[]): string {
  return eventTypes.filter((type) => types.includes(type)).join(" ");
}

export function splitEventTypes(events: string): WebhookEventType[] {
  const words = events.split(" ");
  return eventTypes.filter((type) => words.includes(type));
}

export function wantsEvent({ events }: Pick<EnabledEndpoint, "events">, type: EventRow["type"]) {
  return events.split(" ").includes(type);
}

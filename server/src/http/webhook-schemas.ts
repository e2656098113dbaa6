/** Bodies and queries of the webhook routes, as the wire types say them. */
import { z } from "zod";

import type {
  DeliveryListQuery,
  RedeliverBody,
  WebhookCreateBody,
  WebhookUpdateBody,
} from "../../../client/src/webhooks.ts";
import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";

import { eventTypes } from "../webhooks/event-types.ts";
import { findTime } from "./times.ts";

const descriptionLengthMax = 200;
const eventWords = eventTypes.join(", ");

const url = z
  .string({ error: "must be a string: the address that is called, an http or https URL" })
  .describe("Called exactly as it is given. http or https, a public host, port 80 or 443.");
const events = z
  .array(z.enum(eventTypes, { error: `holds a word that is none of ${eventWords}` }), {
    error: `must be an array of ${eventWords}`,
  })
  .min(1, `is empty; name at least one of ${eventWords}`)
  .max(eventTypes.length, `names an event twice; name each of ${eventWords} at most once`)
  .describe("What the endpoint is told of; completed and failed without it.");
const description = z
  .string({ error: "must be a string" })
  .max(descriptionLengthMax, `is longer than ${descriptionLengthMax} characters`)
  .refine((text) => !/[\p{Cc}\p{Cs}]/u.test(text), "holds control characters; send plain text");
const enabled = z.boolean({ error: "must be true or false" });

export const webhookCreateBody = z.strictObject({
  url,
  events: events.optional(),
  description: description.optional(),
});

export const webhookUpdateBody = z.strictObject({
  url: url.optional(),
  events: events.optional(),
  description: description.optional(),
  enabled: enabled.optional(),
});

const unixSeconds = z
  .int({ error: "must be a time in whole unix seconds" })
  .min(0, "must be a time in unix seconds, not negative")
  .max(100_000_000_000, "must be a time in unix seconds, not milliseconds");
const webhookId = z.string({ error: "must be the id of a webhook" }).max(80, "is no webhook's id");

export const redeliverBody = z.strictObject({
  created_after: unixSeconds,
  created_before: unixSeconds.optional(),
  webhook: webhookId.optional(),
});

const timeText = z
  .string()
  .refine((text) => findTime(text) !== null, "must be a time: unix seconds, or RFC 3339");

export const deliveryListQuery = z.object({
  limit: z
    .string()
    .regex(/^([1-9]\d?|100)$/, "must be a number from 1 to 100")
    .optional(),
  after: z.string().max(80, "must be the last_id of a page").optional(),
  status: z
    .enum(["pending", "delivered", "failed"], { error: "must be pending, delivered or failed" })
    .optional(),
  webhook: webhookId.optional(),
  task: z.string().max(80, "is no task's id").optional(),
  created_after: timeText.optional(),
  created_before: timeText.optional(),
});

type Mutable<T> = { -readonly [Member in keyof T]: Mutable<T[Member]> };
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
type Agrees<S extends z.ZodType, Wire> = Same<Mutable<z.output<S>>, Mutable<Wire>>;
type AllTrue<T extends readonly true[]> = T;

/** Does not compile while the wire types say something else. */
export type WebhookBodiesAgree = AllTrue<
  [
    Agrees<typeof webhookCreateBody, WebhookCreateBody>,
    Agrees<typeof webhookUpdateBody, WebhookUpdateBody>,
    Agrees<typeof redeliverBody, RedeliverBody>,
    Agrees<typeof deliveryListQuery, DeliveryListQuery>,
  ]
>;

/**
 * Reads the fields of a body; `null` counts as absent. Throws `missing_parameter`, `unsupported_parameter`
 * or `invalid_parameter` for the first field at fault, with the words of its schema.
 */
export function parseFields<T>(schema: z.ZodType<T>, body: JsonObject): T {
  const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  if (issue?.code === "unrecognized_keys") {
    const param = issue.keys[0] ?? "body";
    throw new AppError(
      "unsupported_parameter",
      `${JSON.stringify(param.slice(0, 80))} is not a field of this request; leave it out`,
      { param: param.slice(0, 80) },
    );
  }
  const param = String(issue?.path[0] ?? "body");
  if (!Object.hasOwn(given, param)) {
    throw new AppError("missing_parameter", `${param} is missing; it ${issue?.message}`, { param });
  }
  throw new AppError("invalid_parameter", `${param} ${issue?.message}`, { param });
}

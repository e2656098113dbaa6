import { z } from "zod";

import type { ErrorReply } from "../../../../../client/src/errors.ts";
import type { Warning } from "../../../../../client/src/submit.ts";
import { reasons } from "../../../lib/errors.ts";
import type { Agrees, AllTrue } from "../operation.ts";

const reason = z.enum(reasons).describe("Why the request was refused: a closed vocabulary.");

const types = [
  "invalid_request_error",
  "authentication_error",
  "payment_required",
  "permission_error",
  "not_found",
  "conflict",
  "gone",
  "rate_limit_error",
  "server_error",
  "service_unavailable",
] as const;

export const errorReply = z
  .object({
    error: z.object({
      code: z
        .union([z.number().int(), z.enum(reasons)])
        .describe("The HTTP status; under the versioned contract the reason."),
      message: z.string().describe("What was wrong and what is allowed, for people."),
      type: z.enum(types),
      param: z.string().exactOptional().describe("The field or header at fault."),
      reason,
    }),
    request_id: z.string().describe("Also in the header `X-Request-Id`."),
  })
  .describe("Body of every reply that refuses a request.");

export const warning = z
  .object({
    param: z.string(),
    code: z.enum(["ignored", "clamped", "lowered"]),
    message: z.string(),
  })
  .describe("A parameter that was treated as the model's contract says, not as it was written.");

export const errorSchemas = { Reason: reason, ErrorReply: errorReply, Warning: warning };

export type ErrorSchemasAgree = AllTrue<
  [Agrees<typeof errorReply, ErrorReply>, Agrees<typeof warning, Warning>]
>;

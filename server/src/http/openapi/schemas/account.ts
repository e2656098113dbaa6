import { z } from "zod";

import type { BalanceReply } from "../../../../../client/src/balance.ts";
import type { HealthReply, ReadinessReply } from "../../../../../client/src/health.ts";
import type { UploadReply } from "../../../../../client/src/uploads.ts";
import type { UsageQuery, UsageReply } from "../../../../../client/src/usage.ts";
import type { Agrees, AllTrue } from "../operation.ts";

const balance = z.object({
  success: z.literal(true),
  remain_balance: z
    .number()
    .describe("USD spendable now, holds deducted; −1 for a key without a spend cap."),
  remain_credits: z.number(),
  used_balance: z.number().describe("USD captured so far."),
  used_credits: z.number(),
  unlimited_quota: z.boolean(),
});

const figures = {
  amount_usd: z.number(),
  credits: z.number(),
  requests: z.number().int().describe("Tasks that delivered at least one picture."),
  prompt_tokens: z.number().int(),
  completion_tokens: z.number().int(),
};
const scope = z.enum(["key", "account"]);
const grouping = z.enum(["none", "model", "date", "model,date"]);

const usageReply = z.object({
  success: z.literal(true),
  data: z.object({
    start: z.number().int(),
    end: z.number().int(),
    tz: z.string(),
    scope,
    group_by: grouping,
    total: z.object(figures),
    items: z.array(
      z.object({
        ...figures,
        model: z.string().exactOptional(),
        date: z.string().exactOptional().describe("In the report's time zone."),
      }),
    ),
  }),
});

export const usageQuery = z.object({
  start: z
    .string()
    .optional()
    .describe("Unix seconds or RFC 3339, inclusive; a day before `end` without it."),
  end: z.string().optional().describe("Exclusive; now without it. At most 31 days after `start`."),
  model: z.string().optional().describe("Comma list of at most 50 model ids."),
  group_by: grouping.optional(),
  tz: z.string().optional().describe("Time zone of the dates, as IANA names it."),
  scope: scope.optional().describe("Of the calling key, or of the whole account."),
});

const upload = z.object({
  url: z.string(),
  filename: z.string(),
  content_type: z.string(),
  bytes: z.number().int().positive(),
  created_at: z.number().int(),
});

const health = z.object({ status: z.literal("ok") });

const readiness = z.object({
  status: z.enum(["ready", "unavailable"]),
  checks: z.record(z.string(), z.enum(["ok", "failed"])),
});

export const accountSchemas = {
  BalanceReply: balance,
  UsageReply: usageReply,
  UploadReply: upload,
  HealthReply: health,
  ReadinessReply: readiness,
};

export type AccountSchemasAgree = AllTrue<
  [
    Agrees<typeof balance, BalanceReply>,
    Agrees<typeof usageReply, UsageReply>,
    Agrees<typeof usageQuery, UsageQuery>,
    Agrees<typeof upload, UploadReply>,
    Agrees<typeof health, HealthReply>,
    Agrees<typeof readiness, ReadinessReply>,
  ]
>;

/** The wire types of `GET /v1/usage`. Money is USD, or credits, ten to the USD. */

export type UsageQuery = {
  /** Unix seconds or RFC 3339, inclusive; a day before `end` without it. */
  start?: string | undefined;
  /** Exclusive; now without it. At most 31 days after `start`. */
  end?: string | undefined;
  /** Comma list of at most 50 model ids, in any letter case. */
  model?: string | undefined;
  group_by?: "none" | "model" | "date" | "model,date" | undefined;
  /** Time zone of the dates, as IANA names it. */
  tz?: string | undefined;
  /** Of the calling key, or of all keys of the account in its mode. */
  scope?: "key" | "account" | undefined;
};

export type UsageFigures = {
  amount_usd: number;
  credits: number;
  /** Tasks that delivered at least one picture. */
  requests: number;
  prompt_tokens: number;
  completion_tokens: number;
};

export type UsageItem = UsageFigures & {
  model?: string;
  /** `2026-09-01`, in the report's time zone. */
  date?: string;
};

export type UsageReply = {
  success: true;
  data: {
    start: number;
    end: number;
    tz: string;
    scope: "key" | "account";
    group_by: "none" | "model" | "date" | "model,date";
    total: UsageFigures;
    items: readonly UsageItem[];
  };
};

import type { Operation } from "../operation.ts";
import { alias } from "../operation.ts";
import { accountSchemas, usageQuery } from "../schemas/account.ts";

const reply = {
  200: {
    description: "Amounts in USD and in credits.",
    content: { schema: accountSchemas.BalanceReply },
  },
};

const keyBalance: Operation = {
  method: "get",
  path: "/v1/balance",
  id: "readBalance",
  tag: "Account",
  summary: "Read what the key may spend",
  access: "key",
  replies: reply,
  reasons: [],
};

const accountBalance: Operation = {
  method: "get",
  path: "/v1/user/balance",
  id: "readAccountBalance",
  tag: "Account",
  summary: "Read what the account may spend",
  access: "key",
  replies: reply,
  reasons: [],
};

const usage: Operation = {
  method: "get",
  path: "/v1/usage",
  id: "readUsage",
  tag: "Account",
  summary: "Read what was spent",
  description:
    "Counts what was delivered, at the time it was completed; failed tasks cost nothing and are left out.",
  access: "key",
  query: usageQuery,
  replies: {
    200: {
      description: "The figures, in the asked groups.",
      headers: ["X-Usage-Cache"],
      content: { schema: accountSchemas.UsageReply },
    },
  },
  reasons: [
    "invalid_start",
    "invalid_end",
    "invalid_range",
    "range_too_large",
    "invalid_tz",
    "invalid_group_by",
    "invalid_scope",
    "too_many_models",
    "invalid_parameter",
    "usage_unavailable",
  ],
};

export const accountOperations: readonly Operation[] = [
  keyBalance,
  alias(keyBalance, "/balance", "readBalanceAlias"),
  accountBalance,
  alias(accountBalance, "/user/balance", "readAccountBalanceAlias"),
  usage,
  alias(usage, "/usage", "readUsageAlias"),
];

/** Limits of accounts, the spend of a day, and what each capture was for. */
import type { Kysely } from "kysely";

import { addColumns, amount } from "./table.ts";
import type { Dialect } from "./table.ts";

export async function addLimits(db: Kysely<unknown>, dialect: Dialect): Promise<void> {
  await addColumns(db, dialect, "accounts", {
    requests_per_minute: { type: "integer?", check: "coalesce(requests_per_minute, 1) > 0" },
    tasks_in_flight: { type: "integer?", check: "coalesce(tasks_in_flight, 1) > 0" },
    spend_per_day: { type: "integer?", check: optionalAmount("spend_per_day") },
  });
  await addColumns(db, dialect, "api_keys", {
    spend_per_day: { type: "integer?", check: optionalAmount("spend_per_day") },
  });
  await addColumns(db, dialect, "key_usage", {
    day: { type: "integer", default: "0", check: "day >= 0" },
    day_spent: { type: "integer", default: "0", check: amount("day_spent") },
  });
  await addColumns(db, dialect, "ledger", {
    model: { type: "text?" },
    input_tokens: { type: "integer?", check: optionalAmount("input_tokens") },
    output_tokens: { type: "integer?", check: optionalAmount("output_tokens") },
  });
}

function optionalAmount(column: string): string {
  return `${column} is null or ${amount(column)}`;
}

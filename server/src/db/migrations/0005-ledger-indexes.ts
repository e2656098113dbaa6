/** Every submit writes a hold: the ledger's indexes leave holds out, whose ids are in order of time already. */
import { sql } from "kysely";
import type { Kysely } from "kysely";

import { createIndex } from "./table.ts";

export async function narrowLedgerIndexes(db: Kysely<unknown>): Promise<void> {
  await sql.raw("drop index ledger_task").execute(db);
  await sql.raw("drop index ledger_time").execute(db);
  await createIndex(db, {
    name: "ledger_moves",
    table: "ledger",
    columns: ["account_id", "mode", "created_at", "id"],
    where: "kind <> 'hold'",
  });
}

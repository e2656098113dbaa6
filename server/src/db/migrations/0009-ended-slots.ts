/** A submit writes no slots any more: an open one is a slot without a row. */
import { sql } from "kysely";
import type { Kysely } from "kysely";

export async function keepEndedSlots(db: Kysely<unknown>): Promise<void> {
  await sql`delete from slots where state = 'open'`.execute(db);
}

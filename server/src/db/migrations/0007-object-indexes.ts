/** A sweep looks for objects without knowing whose they are; who knows it finds them by the same indexes. */
import { sql } from "kysely";
import type { Kysely } from "kysely";

import { createIndex } from "./table.ts";

export async function leadWithObjects(db: Kysely<unknown>): Promise<void> {
  for (const table of ["references", "uploads", "outputs"]) {
    const name = `${table}_object`;
    await sql.raw(`drop index ${name}`).execute(db);
    await createIndex(db, { name, table, columns: ["object", "account_id"] });
  }
}

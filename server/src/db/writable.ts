import type { Database } from "./database.ts";

/**
 * Rejects when nothing can be written now, as on a standby of PostgreSQL. It asks for a write that changes
 * nothing, so that it fails as a real one does. SQLite is not asked: its one writer may be busy for long.
 */
export async function assertWritable(db: Pick<Database, "dialect" | "transaction">): Promise<void> {
  if (db.dialect === "sqlite") return;
  await db.transaction((tx) =>
    tx.updateTable("settings").set({ value: "" }).where("name", "is", null).execute(),
  );
}

import type { Handle, Tx } from "../db/database.ts";
import type { ChannelRow } from "../db/schema.ts";
import { prepare } from "../db/statements.ts";

// channels

const selectRevisions = prepare((db, _none: Record<string, never>) =>
  db.selectFrom("channels").select(["name", "revision"]).orderBy("name"),
);

/** One narrow statement, for every node to ask every few seconds. */
export function listRevisions(handle: Handle): Promise<Pick<ChannelRow, "name" | "revision">[]> {
  return selectRevisions.all(handle, {});
}

export function selectChannels(handle: Handle): Promise<ChannelRow[]> {
  return handle.selectFrom("channels").selectAll().orderBy("name").execute();
}

/** Reads a row, or locks it where it is given a transaction that then writes it. */
export async function findChannelRow(handle: Handle, name: string): Promise<ChannelRow | null> {
  const row = await handle
    .selectFrom("channels")
    .selectAll()
    .where("name", "=", name)
    .executeTakeFirst();
  return row ?? null;
}

/** False when the name is taken. */
export async function insertChannel(tx: Tx, row: ChannelRow): Promise<boolean> {
  const inserted = await tx
    .insertInto("channels")
    .values(row)
    .onConflict((conflict) => conflict.column("name").doNothing())
    .returning("name")
    .executeTakeFirst();
  return inserted !== undefined;
}

export type ChannelChange = Partial<Omit<ChannelRow, "name" | "revision" | "created_at">> & {
  updated_at: number;
};

/** Changes a row that is still at this revision, and raises it; false when it is not. */
export async function updateChannelAt(
  tx: Tx,
  { name, revision }: Pick<ChannelRow, "name" | "revision">,
  change: ChannelChange,
): Promise<boolean> {
  const changed = await tx
    .updateTable("channels")
    .set({ ...change, revision: revision + 1 })
    .where("name", "=", name)
    .where("revision", "=", revision)
    .returning("name")
    .executeTakeFirst();
  return changed !== undefined;
}

export type FaultChange = Pick<ChannelRow, "fault" | "fault_reason" | "fault_at" | "fault_until">;

/** Whatever the revision is: what live work found out holds beside any other change. False: no such row. */
export async function updateFault(tx: Tx, name: string, change: FaultChange): Promise<boolean> {
  const changed = await tx
    .updateTable("channels")
    .set((row) => ({ ...change, revision: row("revision", "+", 1) }))
    .where("name", "=", name)
    .returning("name")
    .executeTakeFirst();
  return changed !== undefined;
}

/** True when there was one. */
export async function deleteFault(tx: Tx, name: string): Promise<boolean> {
  const changed = await tx
    .updateTable("channels")
    .set((row) => ({
      fault: null,
      fault_reason: null,
      fault_at: null,
      fault_until: null,
      revision: row("revision", "+", 1),
    }))
    .where("name", "=", name)
    .where("fault", "is not", null)
    .returning("name")
    .executeTakeFirst();
  return changed !== undefined;
}

/** Every statement on `nodes`: which processes serve one database. */
import type { Handle, Tx } from "../db/database.ts";
import type { NodeRow } from "../db/schema.ts";

export async function insertNode(tx: Tx, row: NodeRow): Promise<void> {
  await tx.insertInto("nodes").values(row).execute();
}

/** False when another node has removed this one. */
export async function raiseNodeBeat(tx: Tx, id: string): Promise<boolean> {
  const result = await tx
    .updateTable("nodes")
    .set((row) => ({ beats: row("beats", "+", 1) }))
    .where("id", "=", id)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

export async function loadNodes(handle: Handle): Promise<NodeRow[]> {
  return handle.selectFrom("nodes").select(["id", "is_api", "beats", "started_at"]).execute();
}

export async function deleteNode(tx: Tx, id: string): Promise<void> {
  await tx.deleteFrom("nodes").where("id", "=", id).execute();
}

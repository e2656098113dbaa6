/** Every statement on `channel_load`. */
import type { Handle, Tx } from "../db/database.ts";
import type { ChannelLoadRow } from "../db/schema.ts";
import { insertRows, prepare } from "../db/statements.ts";

const loadColumns = ["channel", "upstream_model", "in_flight"] as const;

/** A row of the table: a channel with one of its upstream models, or with all of them. */
export type LoadKey = { channel: string; upstreamModel: string };

const insertLoadRows = insertRows("channel_load", loadColumns, { onConflict: "ignore" });

const updateToLock = prepare((db, p: LoadKey) =>
  db
    .updateTable("channel_load")
    .set((row) => ({ in_flight: row.ref("in_flight") }))
    .where("channel", "=", p.channel)
    .where("upstream_model", "=", p.upstreamModel)
    .returning("in_flight"),
);

/** How many places are taken; the row, made when it is missing, stays locked until the transaction ends. */
export async function lockLoad(tx: Tx, key: LoadKey): Promise<number> {
  const present = await updateToLock.first(tx, key);
  if (present !== null) return present.in_flight;
  const { channel, upstreamModel } = key;
  await insertLoadRows(tx, [{ channel, upstream_model: upstreamModel, in_flight: 0 }]);
  return (await updateToLock.first(tx, key))?.in_flight ?? 0;
}

const updateToAdd = prepare((db, p: LoadKey & { added: number }) =>
  db
    .updateTable("channel_load")
    .set((row) => ({ in_flight: row("in_flight", "+", p.added) }))
    .where("channel", "=", p.channel)
    .where("upstream_model", "=", p.upstreamModel),
);

/** Adds to a row, or takes away with a number below zero; false when there is no such row. */
export async function addLoad(tx: Tx, key: LoadKey, added: number): Promise<boolean> {
  return (await updateToAdd.run(tx, { ...key, added })) > 0;
}

const selectLoads = prepare((db) =>
  db.selectFrom("channel_load").select(loadColumns).orderBy("channel").orderBy("upstream_model"),
);

export function loadLoads(handle: Handle): Promise<ChannelLoadRow[]> {
  return selectLoads.all(handle, {});
}

/** Writes what a recount has found. */
export async function saveLoad(tx: Tx, key: LoadKey, inFlight: number): Promise<void> {
  await tx
    .updateTable("channel_load")
    .set({ in_flight: inFlight })
    .where("channel", "=", key.channel)
    .where("upstream_model", "=", key.upstreamModel)
    .execute();
}

/**
 * The places of capped channels. An attempt takes its place in the transaction that commits it as
 * sent, and gives it back in the one that ends it, so a place cannot leak. Each place counts in two
 * rows, that of its upstream model and that of the whole channel, whichever of them has a cap: so a
 * change of caps needs no recount.
 *
 * Locks: rows of `channel_load` come last in a transaction, in order of channel and upstream model.
 */
import type { Handle, Tx } from "../db/database.ts";
import type { ChannelLoadRow } from "../db/schema.ts";
import { assert } from "../lib/errors.ts";
import { anyModel } from "./channel.ts";
import type { Channel } from "./channel.ts";
import { addLoad, loadLoads, lockLoad, saveLoad } from "./load-store.ts";
import type { LoadKey } from "./load-store.ts";

/** One attempt's place. */
export type Place = { channel: string; upstreamModel: string };

type Capped = Pick<Channel, "name" | "caps">;

/** True when attempts on this model of the channel need a place. */
export function isCapped({ caps }: Capped, upstreamModel: string): boolean {
  return caps.has(anyModel) || caps.has(upstreamModel);
}

/** Takes up to `count` places in the caller's transaction; returns how many, 0 when the channel is full. */
export async function takePlaces(
  tx: Tx,
  channel: Capped,
  upstreamModel: string,
  count: number,
): Promise<number> {
  const keys = keysOf({ channel: channel.name, upstreamModel });
  let granted = count;
  for (const key of keys) {
    const free = (channel.caps.get(key.upstreamModel) ?? Infinity) - (await lockLoad(tx, key));
    granted = Math.min(granted, Math.max(0, free));
  }
  if (granted > 0) for (const key of keys) await addLoad(tx, key, granted);
  return granted;
}

/** Gives back places that the caller has just struck from their attempts, in the same transaction. */
export async function givePlacesBack(tx: Tx, places: readonly Place[]): Promise<void> {
  for (const { channel, upstream_model, in_flight } of countPlaces(places)) {
    const found = await addLoad(tx, { channel, upstreamModel: upstream_model }, -in_flight);
    assert(found, `the load of ${channel} has a row for ${upstream_model}`);
  }
}

/** What the rows must say when exactly these places are taken; in order of channel and upstream model. */
export function countPlaces(places: readonly Place[]): ChannelLoadRow[] {
  const rows = new Map<string, ChannelLoadRow>();
  for (const { channel, upstreamModel } of places.flatMap(keysOf)) {
    const name = JSON.stringify([channel, upstreamModel]);
    const row = rows.get(name) ?? { channel, upstream_model: upstreamModel, in_flight: 0 };
    row.in_flight += 1;
    rows.set(name, row);
  }
  return [...rows.values()].toSorted(
    (a, b) => compare(a.channel, b.channel) || compare(a.upstream_model, b.upstream_model),
  );
}

/** What one look at the table has found: true at that moment, and good enough to choose by. */
export type LoadLook = {
  /** Places left on this model of the channel; `Infinity` without a cap. */
  free(channel: Capped, upstreamModel: string): number;
};

export async function lookAtLoad(handle: Handle): Promise<LoadLook> {
  const taken = new Map<string, number>();
  for (const { channel, upstream_model, in_flight } of await loadLoads(handle)) {
    taken.set(JSON.stringify([channel, upstream_model]), in_flight);
  }
  return {
    free: ({ name, caps }, upstreamModel) => {
      const left = keysOf({ channel: name, upstreamModel }).map((key) => {
        const used = taken.get(JSON.stringify([key.channel, key.upstreamModel])) ?? 0;
        return (caps.get(key.upstreamModel) ?? Infinity) - used;
      });
      return Math.max(0, Math.min(...left));
    },
  };
}

/** A row whose count was wrong. */
export type Repair = LoadKey & { was: number; is: number };

/**
 * Sets every row to what `countHeld` finds, with the rows locked, so that nothing is taken or given back
 * meanwhile; tells what it changed.
 */
export async function repairLoad(
  tx: Tx,
  countHeld: (tx: Tx) => Promise<readonly Place[]>,
): Promise<Repair[]> {
  const present = await loadLoads(tx);
  for (const row of present) {
    await lockLoad(tx, { channel: row.channel, upstreamModel: row.upstream_model });
  }
  const counted = countPlaces(await countHeld(tx));
  const repairs: Repair[] = [];
  for (const row of withMissing(present, counted)) {
    const key = { channel: row.channel, upstreamModel: row.upstream_model };
    const was = await lockLoad(tx, key);
    if (was === row.in_flight) continue;
    await saveLoad(tx, key, row.in_flight);
    repairs.push({ ...key, was, is: row.in_flight });
  }
  return repairs;
}

/** The counted rows, and those of the table that nobody holds a place in any more, in order. */
function withMissing(
  present: readonly ChannelLoadRow[],
  counted: readonly ChannelLoadRow[],
): ChannelLoadRow[] {
  const isCounted = (row: ChannelLoadRow): boolean =>
    counted.some(
      ({ channel, upstream_model }) =>
        channel === row.channel && upstream_model === row.upstream_model,
    );
  const empty = present.filter((row) => !isCounted(row)).map((row) => ({ ...row, in_flight: 0 }));
  return [...counted, ...empty].toSorted(
    (a, b) => compare(a.channel, b.channel) || compare(a.upstream_model, b.upstream_model),
  );
}

/** Sorted as the database does: the row of the whole channel stands before those of its models. */
function keysOf({ channel, upstreamModel }: Place): LoadKey[] {
  return [anyModel, upstreamModel]
    .toSorted(compare)
    .map((model) => ({ channel, upstreamModel: model }));
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Database } from "../db/database.ts";
import { anyModel } from "./channel.ts";
import {
  countPlaces,
  givePlacesBack,
  isCapped,
  lookAtLoad,
  repairLoad,
  takePlaces,
} from "./load.ts";
import type { Place } from "./load.ts";
import { loadLoads, saveLoad } from "./load-store.ts";

const bfl = {
  name: "bfl",
  caps: new Map([
    [anyModel, 3],
    ["kontext-max", 2],
  ]),
};
const onlyMax = { name: "other", caps: new Map([["kontext-max", 1]]) };

type Capped = typeof bfl;

function take(db: Database, channel: Capped, upstreamModel: string, count = 1): Promise<number> {
  return db.transaction((tx) => takePlaces(tx, channel, upstreamModel, count));
}

function giveBack(db: Database, places: readonly Place[]): Promise<void> {
  return db.transaction((tx) => givePlacesBack(tx, places));
}

/** The table without the rows that count nobody. */
async function loads(db: Database): Promise<string[]> {
  const rows = await loadLoads(db.read);
  return rows
    .filter((row) => row.in_flight > 0)
    .map((row) => `${row.channel}/${row.upstream_model} ${row.in_flight}`);
}

onEachDatabase((_name, setup) => {
  test("places are granted up to the smaller of the caps, and each counts for model and channel", async () => {
    const { db } = await setup();
    assert.equal(await take(db, bfl, "kontext-max", 5), 2);
    assert.deepEqual(await loads(db), ["bfl/* 2", "bfl/kontext-max 2"]);
    assert.equal(await take(db, bfl, "kontext-max"), 0);
    assert.equal(await take(db, bfl, "flux-2-pro", 2), 1);
    assert.equal(await take(db, bfl, "flux-2-pro"), 0);
    assert.deepEqual(await loads(db), ["bfl/* 3", "bfl/flux-2-pro 1", "bfl/kontext-max 2"]);
  });

  test("a place given back is free for the next, of any model", async () => {
    const { db } = await setup();
    await take(db, bfl, "flux-2-pro", 3);
    const place = { channel: "bfl", upstreamModel: "flux-2-pro" };
    await giveBack(db, [place, place]);
    assert.deepEqual(await loads(db), ["bfl/* 1", "bfl/flux-2-pro 1"]);
    assert.equal(await take(db, bfl, "kontext-max", 9), 2);
  });

  test("a cap that is lowered below the load grants nothing until enough have ended", async () => {
    const { db } = await setup();
    await take(db, bfl, "flux-2-pro", 3);
    const lowered = { name: "bfl", caps: new Map([[anyModel, 2]]) };
    assert.equal(await take(db, lowered, "flux-2-pro"), 0);
    const place = { channel: "bfl", upstreamModel: "flux-2-pro" };
    await giveBack(db, [place]);
    assert.equal(await take(db, lowered, "flux-2-pro"), 0);
    await giveBack(db, [place]);
    assert.equal(await take(db, lowered, "flux-2-pro"), 1);
  });

  test("a place that nobody took cannot be given back", async () => {
    const { db } = await setup();
    const place = { channel: "bfl", upstreamModel: "flux-2-pro" };
    await assert.rejects(giveBack(db, [place]), /has a row/);
    await take(db, bfl, "flux-2-pro");
    await assert.rejects(giveBack(db, [place, place]));
    assert.deepEqual(await loads(db), ["bfl/* 1", "bfl/flux-2-pro 1"]);
  });

  test("takers at the same moment share what there is, and no more", async () => {
    const { db } = await setup();
    const granted = await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        take(db, bfl, i % 2 === 0 ? "flux-2-pro" : "kontext-max"),
      ),
    );
    assert.equal(
      granted.reduce((sum, one) => sum + one, 0),
      3,
    );
    assert.equal((await loads(db))[0], "bfl/* 3");
  });

  test("a look tells how many places are left", async () => {
    const { db } = await setup();
    await take(db, bfl, "kontext-max");
    await take(db, onlyMax, "kontext-max");
    const look = await lookAtLoad(db.read);
    assert.equal(look.free(bfl, "kontext-max"), 1);
    assert.equal(look.free(bfl, "flux-2-pro"), 2);
    assert.equal(look.free(onlyMax, "kontext-max"), 0);
    assert.equal(look.free(onlyMax, "flux-2-pro"), Infinity);
    assert.equal(look.free({ name: "new", caps: new Map([[anyModel, 4]]) }, "m"), 4);
    assert.deepEqual(
      ["kontext-max", "flux-2-pro"].map((model) => isCapped(onlyMax, model)),
      [true, false],
    );
  });

  test("a recount sets wrong rows right, adds missing ones, and tells what it did", async () => {
    const { db } = await setup();
    await take(db, bfl, "kontext-max", 2);
    await take(db, onlyMax, "kontext-max");
    const held = [
      { channel: "bfl", upstreamModel: "kontext-max" },
      { channel: "late", upstreamModel: "m" },
    ];
    await db.transaction((tx) => saveLoad(tx, { channel: "bfl", upstreamModel: anyModel }, 7));
    const repair = () => db.transaction((tx) => repairLoad(tx, () => Promise.resolve(held)));
    assert.deepEqual(await repair(), [
      { channel: "bfl", upstreamModel: "*", was: 7, is: 1 },
      { channel: "bfl", upstreamModel: "kontext-max", was: 2, is: 1 },
      { channel: "late", upstreamModel: "*", was: 0, is: 1 },
      { channel: "late", upstreamModel: "m", was: 0, is: 1 },
      { channel: "other", upstreamModel: "*", was: 1, is: 0 },
      { channel: "other", upstreamModel: "kontext-max", was: 1, is: 0 },
    ]);
    assert.deepEqual(await repair(), []);
    assert.deepEqual(await loads(db), ["bfl/* 1", "bfl/kontext-max 1", "late/* 1", "late/m 1"]);
  });

  test("whatever is taken and given back, the rows say what is held and no cap is passed", async () => {
    const { db } = await setup();
    const channel = fc.constantFrom(bfl, onlyMax);
    const model = fc.constantFrom("kontext-max", "flux-2-pro");
    const move = fc.oneof(
      fc.record({
        do: fc.constant("take" as const),
        channel,
        model,
        count: fc.integer({ min: 1, max: 4 }),
      }),
      fc.record({
        do: fc.constant("give" as const),
        places: fc.array(fc.nat(9), { maxLength: 3 }),
      }),
    );
    const property = fc.asyncProperty(fc.array(move, { maxLength: 20 }), async (moves) => {
      let held: Place[] = [];
      for (const wanted of moves) {
        if (wanted.do === "take") {
          const granted = await take(db, wanted.channel, wanted.model, wanted.count);
          const place = { channel: wanted.channel.name, upstreamModel: wanted.model };
          held.push(...Array.from({ length: granted }, () => place));
        } else {
          const given = new Set(wanted.places.filter((index) => index < held.length));
          await giveBack(
            db,
            held.filter((_, index) => given.has(index)),
          );
          held = held.filter((_, index) => !given.has(index));
        }
        const rows = (await loadLoads(db.read)).filter((row) => row.in_flight > 0);
        assert.deepEqual(rows, countPlaces(held));
        for (const { channel: name, upstream_model, in_flight } of rows) {
          const cap = [bfl, onlyMax].find((one) => one.name === name)?.caps.get(upstream_model);
          assert.ok(in_flight <= (cap ?? Infinity), `${name} ${upstream_model} ${in_flight}`);
        }
      }
      await giveBack(db, held);
    });
    await fc.assert(property, { numRuns: 25 });
  });
});

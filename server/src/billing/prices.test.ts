import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { listOverrides, loadOverrides, setFree, setPrice, unsetPrice } from "./prices.ts";

async function setupPrices(setup: Setup) {
  const { db } = await setup();
  return {
    db,
    set: (model: string, row: string, price: number, now = 1) =>
      db.transaction((tx) => setPrice(tx, { model, row, price, now })),
    free: (model: string) => db.transaction((tx) => setFree(tx, model, 2)),
    unset: (model: string, row?: string) => db.transaction((tx) => unsetPrice(tx, model, row)),
  };
}

onEachDatabase((_name, setup) => {
  test("without overrides there are none", async () => {
    const { db } = await setupPrices(setup);
    assert.deepEqual(await loadOverrides(db.read), new Map());
    assert.deepEqual(await listOverrides(db.read), []);
  });

  test("a price that was set is read by the next submit, and the last one counts", async () => {
    const { db, set } = await setupPrices(setup);
    await set("flux-2-pro", "2K", 60_000);
    await set("flux-2-pro", "1K", 45_000);
    await set("flux-2-flex", "1K", 100_000);
    await set("flux-2-pro", "1K", 50_000, 3);
    assert.deepEqual(
      await loadOverrides(db.read),
      new Map([
        ["flux-2-flex", new Map([["1K", 100_000]])],
        [
          "flux-2-pro",
          new Map([
            ["1K", 50_000],
            ["2K", 60_000],
          ]),
        ],
      ]),
    );
    assert.deepEqual(await listOverrides(db.read, "flux-2-pro"), [
      { model: "flux-2-pro", row: "1K", price: 50_000, updatedAt: 3 },
      { model: "flux-2-pro", row: "2K", price: 60_000, updatedAt: 1 },
    ]);
    assert.equal((await listOverrides(db.read)).length, 3);
  });

  test("a free model has no other price, and a price ends that it is free", async () => {
    const { db, set, free } = await setupPrices(setup);
    await set("flux-2-pro", "1K", 45_000);
    await free("flux-2-pro");
    await free("flux-2-pro");
    assert.deepEqual(await loadOverrides(db.read), new Map([["flux-2-pro", new Map([["*", 0]])]]));
    await set("flux-2-pro", "2K", 60_000);
    assert.deepEqual(
      await loadOverrides(db.read),
      new Map([["flux-2-pro", new Map([["2K", 60_000]])]]),
    );
  });

  test("an unset price goes back to the list, one row or all of a model", async () => {
    const { db, set, free, unset } = await setupPrices(setup);
    await set("flux-2-pro", "1K", 45_000);
    await set("flux-2-pro", "2K", 60_000);
    await set("flux-2-pro", "reference", 1);
    await free("flux-2-flex");
    assert.equal(await unset("flux-2-pro", "1K"), 1);
    assert.equal(await unset("flux-2-pro", "1K"), 0);
    assert.equal(await unset("flux-2-pro"), 2);
    assert.deepEqual([...(await loadOverrides(db.read)).keys()], ["flux-2-flex"]);
    assert.equal(await unset("flux-2-flex"), 1);
    assert.deepEqual(await loadOverrides(db.read), new Map());
  });

  test("a price is a whole amount and belongs to a row", async () => {
    const { db, set } = await setupPrices(setup);
    await assert.rejects(set("flux-2-pro", "1K", -1), /whole number of micro-USD/);
    await assert.rejects(set("flux-2-pro", "1K", 0.5), /whole number of micro-USD/);
    await assert.rejects(set("flux-2-pro", "*", 0), /belongs to a row/);
    assert.deepEqual(await loadOverrides(db.read), new Map());
  });
});

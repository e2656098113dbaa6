import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachEngine } from "../../test/support/engine.ts";
import { createVendor, failing, running } from "../../test/support/vendor.ts";
import { saveLoad } from "../channels/load-store.ts";
import { checkChannels, checkPlaces, checkWaste } from "./doctor-channels.ts";

onEachEngine((_name, open) => {
  test("a count of places that is wrong is told of and set right, once", async () => {
    const vendor = createVendor({ caps: new Map([["*", 3]]), submit: running(60_000) });
    await using engine = await open({ vendors: [vendor] });
    await engine.submit();
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.rest();
    assert.equal((await checkPlaces(engine))[0], "ok");
    const key = { channel: "vendor", upstreamModel: "*" };
    await engine.db.transaction((tx) => saveLoad(tx, key, 3));
    const [state, detail] = await checkPlaces(engine);
    assert.equal(state, "warning");
    assert.match(detail, /vendor\/\* 3 -> 1/);
    assert.equal((await checkPlaces(engine))[0], "ok");
  });

  test("outcomes that nobody knows are listed with what they may have cost", async () => {
    const vendor = createVendor({ submit: failing("lost") });
    await using engine = await open({ vendors: [vendor] });
    assert.deepEqual((await checkWaste(engine))[0], "ok");
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    const [state, detail] = await checkWaste(engine);
    assert.equal(state, "warning");
    assert.match(detail, new RegExp(`0.0387 USD wasted on 1 attempts .* 1 ended unknown.*${id}`));
  });

  test("without a channel doctor says that live keys have nobody", async () => {
    await using engine = await open();
    assert.match((await checkChannels(engine))[1], /live keys/);
  });
});

/** A picture that is made and paid for, and that cannot be fetched for a while: it is worth waiting for. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { minuteMs } from "../../src/lib/time.ts";
import { onEachEngine } from "../support/engine.ts";
import { startPeer } from "../support/peers.ts";
import { createVendor, delivered, failing, picture, running } from "../support/vendor.ts";

const drawn = picture();
const bytes = drawn.kind === "bytes" ? drawn.bytes : new Uint8Array();
/** Longer than a few tries take, shorter than anybody would give up paid work for. */
const troubleMs = 40_000;

onEachEngine((_name, open) => {
  test("a picture whose host cannot be reached for a while is fetched when it is back", async (t) => {
    let isAway = true;
    let asked = 0;
    const host = await startPeer(t, (_request, response) => {
      asked += 1;
      if (isAway) response.destroy();
      else response.end(bytes);
    });
    const link = delivered([{ kind: "url", url: host.url("/picture.png") }]);
    const vendor = createVendor({ submit: running(), poll: link });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    await engine.run(() => asked > 0);
    await engine.pass(troubleMs);
    isAway = false;
    await engine.untilEnded(id);
    const task = await engine.read(id);
    assert.equal(task.status, "completed", JSON.stringify(task.error));
    assert.equal(vendor.countOf("submit"), 1);
    await engine.checkLedger();
  });

  test("a picture whose host stays away is given up after two minutes, uncharged", async (t) => {
    const host = await startPeer(t, (_request, response) => void response.destroy());
    const link = delivered([{ kind: "url", url: host.url("/picture.png") }]);
    await using engine = await open({ vendors: [createVendor({ submit: link })] });
    const id = await engine.submit();
    await engine.start();
    const begun = engine.clock.now();
    await engine.untilEnded(id);
    const took = engine.clock.now() - begun;
    assert.ok(took > 2 * minuteMs && took < 3 * minuteMs, `${took} ms`);
    const { error, cost } = await engine.read(id);
    assert.deepEqual([error?.code, cost], ["no_image", 0]);
    await engine.checkLedger();
  });

  test("a link that has expired is asked for anew for as long as the vendor does not answer", async (t) => {
    const host = await startPeer(t, (request, response) => {
      if (request.url === "/old.png") response.writeHead(403).end();
      else response.end(bytes);
    });
    const linkTo = (path: string) => delivered([{ kind: "url", url: host.url(path) }]);
    const vendor = createVendor({ submit: running(), poll: failing("unavailable") });
    vendor.onPoll(linkTo("/old.png"));
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    await engine.run(() => vendor.countOf("poll") > 1);
    await engine.pass(troubleMs);
    vendor.always({ poll: linkTo("/new.png") });
    await engine.untilEnded(id);
    const task = await engine.read(id);
    assert.equal(task.status, "completed", JSON.stringify(task.error));
    assert.equal(vendor.countOf("submit"), 1);
    await engine.checkLedger();
  });
});

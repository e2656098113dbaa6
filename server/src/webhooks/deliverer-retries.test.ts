import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import { reply } from "../../test/support/receiver.ts";
import { openWebhooks, owner } from "../../test/support/webhooks.ts";
import { dayMs, hourMs, minuteMs, secondMs } from "../lib/time.ts";
import { perOriginMax } from "./lanes.ts";
import { retryPausesMs, triesMax } from "./schedule.ts";

onEachDatabase((_name, setup) => {
  test("a delivery that always fails is tried nine times over about 28 hours and then given up", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(reply(500, {}, "out of order"));
    webhooks.deliverer.start();
    const began = webhooks.clock.now();
    await webhooks.addEvent({ webhook: receiver.origin });
    for (const [index, pause] of retryPausesMs.entries()) {
      const row = await webhooks.untilTried(index + 1);
      const wait = row.due_at - webhooks.clock.now();
      assert.equal(row.state, "pending");
      assert.ok(wait >= pause * 0.9 && wait <= pause * 1.1, `try ${index + 2} after ${wait} ms`);
      await webhooks.jump(wait);
    }
    const row = await webhooks.untilTried(triesMax);
    assert.equal(row.state, "failed");
    assert.equal(triesMax, 9);
    const tookMs = webhooks.clock.now() - began;
    assert.ok(tookMs > 24.8 * hourMs && tookMs < 30.5 * hourMs, `${tookMs} ms`);
    const tries = await webhooks.tries();
    assert.deepEqual(
      tries.map(({ number, status, response }) => [number, status, response]),
      Array.from({ length: 9 }, (_try, index) => [index + 1, 500, "out of order"]),
    );
    const ids = receiver.received.map(({ headers }) => headers["webhook-id"]);
    const times = receiver.received.map(({ headers }) => headers["webhook-timestamp"]);
    assert.equal(new Set(ids).size, 1);
    assert.equal(new Set(times).size, 9);
  });

  test("410 ends a delivery at the first try, and disables a registered endpoint", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(reply(410));
    const { id } = await webhooks.endpoints.createEndpoint(owner, { url: receiver.origin });
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: receiver.origin });
    const rows = await webhooks.untilDeliveries((all) =>
      [all.length === 2, ...all.map(({ tries }) => tries === 1)].every(Boolean),
    );
    assert.deepEqual(
      rows.map(({ state }) => state),
      ["failed", "failed"],
    );
    const endpoint = await webhooks.endpoints.loadEndpoint(owner, id);
    assert.equal(endpoint.disabled?.reason, "gone");
    await webhooks.addEvent({ webhook: receiver.origin });
    await webhooks.untilDeliveries((all) => all.length === 3 && all[2]?.tries === 1);
  });

  test("Retry-After lengthens the pause before the next try, to an hour at most", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(reply(429, { "retry-after": "120" }));
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: receiver.origin });
    const first = await webhooks.untilTried(1);
    assert.equal(first.due_at - webhooks.clock.now(), 2 * minuteMs);
    receiver.answerWith(reply(503, { "retry-after": "86400" }));
    await webhooks.jump(2 * minuteMs);
    const second = await webhooks.untilTried(2);
    assert.equal(second.due_at - webhooks.clock.now(), hourMs);
  });

  test("after ten failures in a row an origin is left alone, then one delivery tries it for all", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(reply(500));
    webhooks.deliverer.start();
    for (let i = 0; i < 30; i += 1) await webhooks.addEvent({ webhook: receiver.origin });
    await webhooks.untilDeliveries((rows) => {
      const tried = rows.filter(({ tries }) => tries === 1).length;
      return tried >= 10 && rows.every(({ lease }) => lease === null);
    });
    const before = receiver.received.length;
    assert.ok(before >= 10 && before < 10 + perOriginMax, `${before} tries`);
    await webhooks.clock.advance(20 * secondMs);
    assert.equal(receiver.received.length, before);
    receiver.answerWith(reply(200));
    await webhooks.clock.advance(12 * secondMs);
    await receiver.untilReceived(before + 1);
    await webhooks.untilDeliveries((rows) => rows.every(({ state }) => state === "delivered"));
  });

  test("an endpoint that has done nothing but fail for five days is disabled, and one success starts anew", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(reply(404));
    const { id } = await webhooks.endpoints.createEndpoint(owner, { url: receiver.origin });
    webhooks.deliverer.start();
    const isDisabled = async (): Promise<boolean> =>
      (await webhooks.endpoints.loadEndpoint(owner, id)).disabled !== null;
    const failOnce = async (count: number): Promise<void> => {
      await webhooks.addEvent();
      await webhooks.untilDeliveries(
        (rows) => rows.length === count && rows[count - 1]?.tries === 1,
      );
    };
    for (let count = 1; count <= 19; count += 1) await failOnce(count);
    await webhooks.jump(5 * dayMs - hourMs);
    await webhooks.untilDeliveries((rows) => rows.every(({ lease }) => lease === null));
    assert.equal(await isDisabled(), false);
    receiver.answerWith(reply(200));
    await webhooks.endpoints.testEndpoint(owner, id, "{}");
    await webhooks.untilDeliveries((rows) => rows.some(({ state }) => state === "delivered"));
    assert.equal((await webhooks.endpoints.loadEndpoint(owner, id)).failingSince, null);
  });

  test("twenty failures over five days disable an endpoint, and what waits for it is given up", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(reply(404));
    const { id } = await webhooks.endpoints.createEndpoint(owner, { url: receiver.origin });
    webhooks.deliverer.start();
    for (let day = 0; day < 4; day += 1) {
      for (let i = 0; i < 5; i += 1) await webhooks.addEvent();
      const wanted = 5 * (day + 1);
      await webhooks.untilDeliveries(
        (rows) =>
          rows.length === wanted && rows.every(({ tries, lease }) => tries > 0 && lease === null),
      );
      await webhooks.jump(1.3 * dayMs);
      await webhooks.untilDeliveries((rows) => rows.every(({ lease }) => lease === null));
    }
    await webhooks.addEvent();
    const rows = await webhooks.untilDeliveries((all) =>
      all.every(({ state }) => state === "failed"),
    );
    assert.equal((await webhooks.endpoints.loadEndpoint(owner, id)).disabled?.reason, "failing");
    const count = rows.length;
    await webhooks.addEvent({ webhook: receiver.origin });
    await webhooks.untilDeliveries((all) => all.length === count + 1);
    await webhooks.endpoints.updateEndpoint(owner, id, { enabled: true });
    await webhooks.addEvent();
    await webhooks.untilDeliveries((all) => all.length === count + 2);
  });
});

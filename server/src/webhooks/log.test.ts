import assert from "node:assert/strict";
import { test } from "node:test";

import { AppError } from "../lib/errors.ts";
import { dayMs, minuteMs } from "../lib/time.ts";
import { onEachDatabase } from "../../test/support/databases.ts";
import { reply } from "../../test/support/receiver.ts";
import { openWebhooks, owner } from "../../test/support/webhooks.ts";
import { countDeliveries } from "./delivery-store.ts";
import { endpointsMax } from "./endpoints.ts";
import { giveUpAfterMs } from "./schedule.ts";
import { logKeptMs } from "./sweep.ts";

const stranger = { accountId: "acc_2", mode: "live" } as const;
const testMode = { ...owner, mode: "test" } as const;

function isReason(reason: string) {
  return (error: unknown): boolean => error instanceof AppError && error.reason === reason;
}

onEachDatabase((_name, setup) => {
  test("a failed delivery that is sent again has the same id and a new round of tries, all of them in the log", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(reply(410, {}, "gone"));
    webhooks.deliverer.start();
    const eventId = await webhooks.addEvent({ webhook: receiver.origin, body: '{"id":"task_1"}' });
    const failed = await webhooks.untilTried(1);
    receiver.answerWith(reply(200, {}, "thanks"));
    const queued = await webhooks.log.redeliver(owner, failed.id);
    assert.deepEqual([queued.state, queued.round], ["pending", 0]);
    const delivered = await webhooks.untilTried(2);
    assert.equal(delivered.state, "delivered");
    const detail = await webhooks.log.loadDelivery(owner, failed.id);
    assert.equal(detail.body, '{"id":"task_1"}');
    assert.deepEqual(
      detail.tries.map(({ number, status, response }) => [number, status, response]),
      [
        [1, 410, "gone"],
        [2, 200, "thanks"],
      ],
    );
    const ids = receiver.received.map(({ headers }) => headers["webhook-id"]);
    assert.deepEqual(ids, [eventId, eventId]);
  });

  test("what was delivered can be sent again too", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver();
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: receiver.origin });
    const { id } = await webhooks.untilTried(1);
    await webhooks.log.redeliver(owner, id);
    assert.equal((await webhooks.untilTried(2)).state, "delivered");
  });

  test("every failed delivery of a time range is sent again, and none outside of it", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(reply(410));
    const { clock, log } = webhooks;
    webhooks.deliverer.start();
    const times: number[] = [];
    for (let count = 1; count <= 3; count += 1) {
      times.push(clock.now());
      await webhooks.addEvent({ webhook: receiver.origin });
      await webhooks.untilDeliveries(
        (rows) => rows.filter(({ state }) => state === "failed").length === count,
      );
      await webhooks.jump(10 * minuteMs);
    }
    receiver.answerWith(reply(200));
    const [, second = 0, third = 0] = times;
    const range = { createdAfter: second, createdBefore: third, endpointId: undefined };
    assert.equal((await log.redeliverFailed(stranger, range)).redelivered, 0);
    assert.equal((await log.redeliverFailed(testMode, range)).redelivered, 0);
    assert.deepEqual(await log.redeliverFailed(owner, range), { redelivered: 1, hasMore: false });
    await clock.advance(2_000);
    const rows = await webhooks.untilDeliveries((all) =>
      all.some(({ state }) => state === "delivered"),
    );
    assert.deepEqual(
      rows.map(({ state }) => state),
      ["failed", "delivered", "failed"],
    );
  });

  test("a range is sent again for one endpoint, and for one that does not exist it is refused by name", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(reply(410));
    const { clock, log, endpoints } = webhooks;
    const url = `${receiver.origin}/hook`;
    const { id } = await endpoints.createEndpoint(owner, { url });
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: receiver.origin });
    await webhooks.untilDeliveries(
      (rows) => rows.filter(({ state }) => state === "failed").length === 2,
    );
    const range = { createdAfter: 0, createdBefore: clock.now() + 1, endpointId: id };
    for (const [asker, endpointId] of [
      [owner, "whe_unknown"],
      [testMode, id],
      [stranger, id],
    ] as const) {
      await assert.rejects(
        log.redeliverFailed(asker, { ...range, endpointId }),
        (error) => isReason("webhook_not_found")(error) && (error as AppError).param === "webhook",
      );
    }
    assert.equal((await log.redeliverFailed(owner, range)).redelivered, 1);
  });

  test("deliveries of another account, or of the other mode, cannot be seen or repeated", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver();
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: receiver.origin });
    const { id } = await webhooks.untilTried(1);
    for (const other of [stranger, testMode]) {
      await assert.rejects(webhooks.log.loadDelivery(other, id), isReason("delivery_not_found"));
      await assert.rejects(webhooks.log.redeliver(other, id), isReason("delivery_not_found"));
      const page = { after: null, limit: 10 };
      assert.deepEqual((await webhooks.log.listDeliveries(other, {}, page)).deliveries, []);
    }
  });

  test("the list pages from the newest to the oldest and filters", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver();
    const endpoint = await webhooks.endpoints.createEndpoint(owner, { url: receiver.origin });
    webhooks.deliverer.start();
    for (let i = 0; i < 3; i += 1) await webhooks.addEvent({ webhook: `${receiver.origin}/a` });
    const rows = await webhooks.untilDeliveries(
      (all) => all.length === 6 && all.every(({ state }) => state === "delivered"),
    );
    const { log } = webhooks;
    const first = await log.listDeliveries(owner, {}, { after: null, limit: 4 });
    assert.equal(first.hasMore, true);
    const after = first.deliveries.at(-1)?.id ?? "";
    const second = await log.listDeliveries(owner, {}, { after, limit: 4 });
    assert.equal(second.hasMore, false);
    assert.deepEqual(
      [...first.deliveries, ...second.deliveries].map(({ id }) => id),
      rows.map(({ id }) => id).toReversed(),
    );
    const count = async (filter: Parameters<typeof log.listDeliveries>[1]): Promise<number> =>
      (await log.listDeliveries(owner, filter, { after: null, limit: 10 })).deliveries.length;
    assert.equal(await count({ endpointId: endpoint.id }), 3);
    assert.equal(await count({ status: "failed" }), 0);
    assert.equal(await count({ status: "delivered", taskId: "task_1" }), 6);
    assert.equal(await count({ taskId: "task_2" }), 0);
    assert.equal(await count({ createdBefore: webhooks.clock.now() }), 0);
    assert.equal(await count({ createdAfter: webhooks.clock.now() }), 6);
  });

  test("what waits is counted, and apart from it what is due", async () => {
    await using webhooks = openWebhooks(await setup());
    const { clock, db } = webhooks;
    assert.deepEqual(await countDeliveries(db.read, clock.now()), { waiting: 0, due: 0 });
    const receiver = await webhooks.startReceiver(reply(503));
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: receiver.origin });
    const { due_at: dueAt } = await webhooks.untilTried(1);
    assert.deepEqual(await countDeliveries(db.read, dueAt - 1), { waiting: 1, due: 0 });
    assert.deepEqual(await countDeliveries(db.read, dueAt), { waiting: 1, due: 1 });
  });

  test("a new URL takes over what still waits, and a deleted endpoint is told of nothing more", async () => {
    await using webhooks = openWebhooks(await setup());
    const broken = await webhooks.startReceiver(reply(500));
    const repaired = await webhooks.startReceiver();
    const { endpoints, log } = webhooks;
    const { id } = await endpoints.createEndpoint(owner, { url: broken.origin });
    webhooks.deliverer.start();
    await webhooks.addEvent();
    const { id: deliveryId } = await webhooks.untilTried(1);
    await endpoints.updateEndpoint(owner, id, { url: `${repaired.origin}/new` });
    await webhooks.jump(minuteMs);
    assert.equal((await webhooks.untilTried(2)).state, "delivered");
    assert.equal(repaired.received[0]?.path, "/new");

    repaired.answerWith(reply(500));
    await webhooks.addEvent();
    await webhooks.untilDeliveries((rows) => rows[1]?.tries === 1 && rows[1].lease === null);
    await endpoints.deleteEndpoint(owner, id);
    const [, waiting] = await webhooks.deliveries();
    assert.deepEqual([waiting?.state, waiting?.last_error], ["failed", "the endpoint was deleted"]);
    await assert.rejects(endpoints.loadEndpoint(owner, id), isReason("webhook_not_found"));
    await assert.rejects(log.redeliver(owner, deliveryId), isReason("webhook_not_found"));
    const all = { createdAfter: 0, createdBefore: webhooks.clock.now(), endpointId: undefined };
    assert.equal((await log.redeliverFailed(owner, all)).redelivered, 0);
  });

  test("an endpoint belongs to one account and one mode", async () => {
    await using webhooks = openWebhooks(await setup());
    const { endpoints } = webhooks;
    const { id } = await endpoints.createEndpoint(owner, { url: "https://example.com/hook" });
    for (const other of [stranger, testMode]) {
      const missing = isReason("webhook_not_found");
      await assert.rejects(endpoints.loadEndpoint(other, id), missing);
      await assert.rejects(endpoints.updateEndpoint(other, id, { enabled: false }), missing);
      await assert.rejects(endpoints.rotateSecret(other, id), missing);
      await assert.rejects(endpoints.testEndpoint(other, id, "{}"), missing);
      await assert.rejects(endpoints.deleteEndpoint(other, id), missing);
      assert.deepEqual(await endpoints.listEndpoints(other), []);
    }
    assert.equal((await endpoints.loadEndpoint(owner, id)).disabled, null);
  });

  test("an account has at most twenty endpoints, also when they are made at once", async () => {
    await using webhooks = openWebhooks(await setup());
    const made = await Promise.allSettled(
      Array.from({ length: endpointsMax + 5 }, (_endpoint, index) =>
        webhooks.endpoints.createEndpoint(owner, { url: `https://example.com/${index}` }),
      ),
    );
    const refused = made.filter(({ status }) => status === "rejected");
    assert.equal(refused.length, 5);
    for (const one of refused) {
      assert.ok(one.status === "rejected" && isReason("webhook_limit_reached")(one.reason));
    }
    assert.equal((await webhooks.endpoints.listEndpoints(owner)).length, endpointsMax);
  });

  test("no secret stands readable in the database", async () => {
    await using webhooks = openWebhooks(await setup());
    const { endpoints, db } = webhooks;
    const made = await endpoints.createEndpoint(owner, { url: "https://example.com/" });
    const rotated = await endpoints.rotateSecret(owner, made.id);
    const own = await webhooks.loadSecret();
    assert.match(made.secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
    const rows = [
      await db.read.selectFrom("webhook_endpoints").selectAll().execute(),
      await db.read.selectFrom("webhook_secrets").selectAll().execute(),
    ];
    const stored = JSON.stringify(rows);
    for (const { secret } of [made, rotated, own]) {
      assert.ok(!stored.includes(secret.slice("whsec_".length, 30)));
    }
  });

  test("a delivery that could not be tried for two days is given up", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(reply(500));
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: receiver.origin });
    await webhooks.untilTried(1);
    await webhooks.deliverer.stop();
    await webhooks.jump(giveUpAfterMs - minuteMs);
    await webhooks.sweep();
    assert.equal((await webhooks.deliveries())[0]?.state, "pending");
    await webhooks.jump(minuteMs);
    await webhooks.sweep();
    assert.equal((await webhooks.deliveries())[0]?.state, "failed");
  });

  test("events, deliveries and tries are kept for 14 days, and swept a bounded batch at a time", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver();
    webhooks.deliverer.start();
    for (let i = 0; i < 3; i += 1) await webhooks.addEvent({ webhook: receiver.origin });
    await webhooks.untilDeliveries(
      (rows) => rows.length === 3 && rows.every(({ state }) => state === "delivered"),
    );
    await webhooks.jump(logKeptMs - dayMs);
    await webhooks.addEvent({ webhook: receiver.origin });
    await webhooks.untilDeliveries((rows) => rows[3]?.state === "delivered");
    assert.equal(await webhooks.sweep(), false);
    assert.equal((await webhooks.deliveries()).length, 4);
    await webhooks.jump(dayMs);
    await webhooks.sweep();
    assert.equal((await webhooks.deliveries()).length, 1);
    const { read } = webhooks.db;
    assert.equal((await read.selectFrom("events").select("id").execute()).length, 1);
    assert.equal((await read.selectFrom("delivery_tries").select("number").execute()).length, 1);
  });
});

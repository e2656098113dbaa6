import assert from "node:assert/strict";
import { test } from "node:test";

import { Webhook } from "standardwebhooks";

import { onEachDatabase } from "../../test/support/databases.ts";
import { hang, reply } from "../../test/support/receiver.ts";
import { openWebhooks, owner } from "../../test/support/webhooks.ts";
import { systemClock, dayMs, secondMs } from "../lib/time.ts";
import { leaseMs } from "./deliverer.ts";
import { claimDeliveries } from "./delivery-store.ts";
import { expandEvents } from "./expand.ts";
import { perOriginMax } from "./lanes.ts";

/** The library checks the timestamp against the real clock, and the test clock stands elsewhere. */
function verify(secret: string, body: string, headers: Record<string, string>): unknown {
  const id = headers["webhook-id"] ?? "";
  const timestamp = new Date(Number(headers["webhook-timestamp"]) * secondMs);
  const now = new Date(systemClock.now());
  const verifier = new Webhook(secret);
  const shown = (headers["webhook-signature"] ?? "").split(" ");
  assert.ok(shown.includes(verifier.sign(id, timestamp, body)), "no signature fits the secret");
  return verifier.verify(body, {
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(now.getTime() / secondMs)),
    "webhook-signature": verifier.sign(id, now, body),
  });
}

onEachDatabase((_name, setup) => {
  test("an event reaches base + /callback with the body as it was kept and a signature that verifies", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver();
    webhooks.deliverer.start();
    const body = '{"id":"task_1","status":"completed"}';
    const eventId = await webhooks.addEvent({ webhook: `${receiver.origin}/hooks/?a=1`, body });
    const delivered = await webhooks.untilTried(1);
    assert.equal(delivered.state, "delivered");
    const [got] = receiver.received;
    assert.equal(got?.path, "/hooks/callback?a=1");
    assert.equal(got.body, body);
    assert.equal(got.headers["webhook-id"], eventId);
    assert.equal(got.headers["darkroom-event"], "task.completed");
    const { secret } = await webhooks.loadSecret();
    const headers = got.headers as Record<string, string>;
    assert.deepEqual(verify(secret, body, headers), JSON.parse(body));
    assert.throws(() => verify(secret, `${body} `, headers));
  });

  test("a registered endpoint is called exactly at its URL, beside the address of the submit, each with its own secret", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver();
    const endpoint = await webhooks.endpoints.createEndpoint(owner, {
      url: `${receiver.origin}/exact?x=1`,
    });
    await webhooks.endpoints.createEndpoint(owner, {
      url: `${receiver.origin}/cancelled`,
      events: ["task.cancelled"],
    });
    await webhooks.endpoints.createEndpoint({ ...owner, mode: "test" }, { url: receiver.origin });
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: receiver.origin });
    await webhooks.untilDeliveries((rows) => rows.filter(({ tries }) => tries === 1).length === 2);
    const paths = receiver.received.map(({ path }) => path).toSorted();
    assert.deepEqual(paths, ["/callback", "/exact?x=1"]);
    const exact = receiver.received.find(({ path }) => path.startsWith("/exact"));
    verify(endpoint.secret, "{}", exact?.headers as Record<string, string>);
  });

  test("at most four deliveries of one origin are under way, and all of them arrive", async () => {
    await using webhooks = openWebhooks(await setup());
    const held: (() => void)[] = [];
    const receiver = await webhooks.startReceiver((response) => {
      held.push(() => void response.writeHead(204).end());
    });
    webhooks.deliverer.start();
    for (let i = 0; i < 10; i += 1) await webhooks.addEvent({ webhook: receiver.origin });
    await receiver.untilReceived(perOriginMax);
    for (let i = 0; i < 10; i += 1) {
      await receiver.untilReceived(Math.min(10, i + perOriginMax));
      held[i]?.();
    }
    await webhooks.untilDeliveries((rows) => rows.every(({ state }) => state === "delivered"));
    assert.equal(receiver.openMax, perOriginMax);
    assert.equal(receiver.received.length, 10);
  });

  test("an origin that hangs with many deliveries waiting does not delay another", async () => {
    await using webhooks = openWebhooks(await setup());
    const dead = await webhooks.startReceiver(hang);
    const alive = await webhooks.startReceiver();
    for (let i = 0; i < 300; i += 1) await webhooks.addEvent({ webhook: dead.origin });
    webhooks.deliverer.start();
    await dead.untilReceived(perOriginMax);
    await webhooks.addEvent({ webhook: alive.origin });
    // No time passes: the clock stands still.
    await alive.untilReceived(1);
    assert.equal(dead.openMax, perOriginMax);
  });

  test("an address that the guard refuses is a recorded failed delivery, and nothing is fetched", async () => {
    const resolve = (): Promise<string[]> => Promise.resolve(["10.0.0.7"]);
    await using webhooks = openWebhooks(await setup(), { allow: [], resolve });
    const receiver = await webhooks.startReceiver();
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: "http://inside.example.com" });
    await webhooks.addEvent({ webhook: receiver.origin });
    await webhooks.addEvent({ webhook: "not a url" });
    const rows = await webhooks.untilDeliveries(
      (all) => all.length === 3 && all.every(({ tries }) => tries === 1),
    );
    for (const { state, last_error: error, last_status: status } of rows) {
      assert.deepEqual(
        [state, error, status],
        ["failed", "the address may not be reached from here", null],
      );
    }
    assert.equal(receiver.received.length, 0);
  });

  test("a redirect is a failed try that nobody follows", async () => {
    await using webhooks = openWebhooks(await setup());
    const target = await webhooks.startReceiver();
    const receiver = await webhooks.startReceiver(reply(302, { location: target.origin }));
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: receiver.origin });
    const row = await webhooks.untilTried(1);
    assert.deepEqual([row.state, row.last_status], ["pending", 302]);
    assert.equal(target.received.length, 0);
  });

  test("a receiver that never answers is given up after 15 seconds", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(hang);
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: receiver.origin });
    await receiver.untilReceived(1);
    await webhooks.clock.advance(14 * secondMs);
    assert.equal((await webhooks.deliveries())[0]?.tries, 0);
    await webhooks.clock.advance(secondMs);
    const row = await webhooks.untilTried(1);
    assert.equal(row.last_error, "no reply within 15 s");
  });

  test("a reply of 10 MB, one that trickles and one that is cut off are decided by their status", async () => {
    await using webhooks = openWebhooks(await setup());
    const huge = await webhooks.startReceiver((response) => {
      response.writeHead(200, { "content-length": String(10 * 2 ** 20) });
      response.end(Buffer.alloc(10 * 2 ** 20, "x"));
    });
    const slow = await webhooks.startReceiver((response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("a");
    });
    const cut = await webhooks.startReceiver((response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("a", () => response.destroy());
    });
    const reset = await webhooks.startReceiver((response) => response.destroy());
    webhooks.deliverer.start();
    for (const { origin } of [huge, slow, cut, reset]) await webhooks.addEvent({ webhook: origin });
    await slow.untilReceived(1);
    await webhooks.untilDeliveries((rows) => rows.filter(({ tries }) => tries === 1).length === 3);
    await webhooks.clock.advance(secondMs);
    const rows = await webhooks.untilDeliveries((all) => all.every(({ tries }) => tries === 1));
    const states = new Map(rows.map(({ origin, state }) => [origin, state]));
    assert.equal(states.get(huge.origin), "delivered");
    assert.equal(states.get(slow.origin), "delivered");
    assert.equal(states.get(cut.origin), "delivered");
    assert.equal(states.get(reset.origin), "pending");
    const first = rows.find(({ origin }) => origin === huge.origin);
    const { tries } = await webhooks.log.loadDelivery(owner, first?.id ?? "");
    assert.equal(tries[0]?.response, "x".repeat(1_024));
  });

  test("after a rotation both secrets sign for a day, then only the new one", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver();
    const made = await webhooks.endpoints.createEndpoint(owner, { url: receiver.origin });
    const old = await webhooks.loadSecret();
    const rotated = await webhooks.endpoints.rotateSecret(owner, made.id);
    const fresh = await webhooks.rotateSecret();
    assert.equal(fresh.previous?.secret, old.secret);
    assert.notEqual(fresh.secret, old.secret);
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: `${receiver.origin}/a` });
    await receiver.untilReceived(2);
    const secretsOf = (path: string): [string, string] =>
      path === "/" ? [rotated.secret, made.secret] : [fresh.secret, old.secret];
    for (const { path, body, headers } of receiver.received) {
      const [current, previous] = secretsOf(path);
      verify(current, body, headers as Record<string, string>);
      verify(previous, body, headers as Record<string, string>);
    }
    await webhooks.jump(dayMs);
    await webhooks.addEvent({ webhook: `${receiver.origin}/a` });
    await receiver.untilReceived(4);
    for (const { path, body, headers } of receiver.received.slice(2)) {
      const [current, previous] = secretsOf(path);
      verify(current, body, headers as Record<string, string>);
      assert.throws(() => verify(previous, body, headers as Record<string, string>));
    }
    assert.equal((await webhooks.loadSecret()).previous, null);
  });

  test("two deliverers share the work: nothing is sent twice, nothing is left", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver();
    const others = await Promise.all([1, 2, 3].map(() => webhooks.startReceiver()));
    const origins = [receiver, ...others].map(({ origin }) => origin);
    for (let i = 0; i < 60; i += 1) await webhooks.addEvent({ webhook: origins[i % 4] ?? "" });
    webhooks.deliverer.start();
    webhooks.createDeliverer().start();
    await webhooks.untilDeliveries(
      (rows) => rows.length === 60 && rows.every(({ state }) => state === "delivered"),
    );
    const ids = [receiver, ...others].flatMap(({ received }) =>
      received.map(({ headers }) => headers["webhook-id"]),
    );
    assert.equal(ids.length, 60);
    assert.equal(new Set(ids).size, 60);
  });

  test("a delivery whose sender died is sent by another once its lease has ended, and not before", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver();
    const { db, clock } = webhooks;
    const eventId = await webhooks.addEvent({ webhook: receiver.origin });
    const claim = {
      origin: receiver.origin,
      limit: 1,
      lease: "dead",
      until: clock.now() + leaseMs,
    };
    await db.transaction(async (tx) => {
      await expandEvents(tx, { clock, ids: webhooks.ids }, [eventId]);
      const claimed = await claimDeliveries(tx, { ...claim, now: clock.now() });
      assert.equal(claimed.length, 1);
    });
    webhooks.deliverer.start();
    await webhooks.jump(leaseMs / 2);
    await webhooks.addEvent({ webhook: `${receiver.origin}/other` });
    await receiver.untilReceived(1);
    assert.equal(receiver.received[0]?.path, "/other/callback");
    await webhooks.jump(leaseMs / 2);
    // A look that had begun before the jump does not see that the lease is over; the next one does.
    while (receiver.received.length < 2) {
      await webhooks.deliveries();
      await clock.advance(secondMs);
    }
    assert.equal(receiver.received[1]?.path, "/callback");
  });

  test("a deliverer that stops gives back what hangs, and another sends it at once", async () => {
    await using webhooks = openWebhooks(await setup());
    const receiver = await webhooks.startReceiver(hang);
    const stopped = webhooks.createDeliverer();
    stopped.start();
    await webhooks.addEvent({ webhook: receiver.origin });
    stopped.nudge();
    await receiver.untilReceived(1);
    const stopping = stopped.stop();
    await webhooks.clock.advance(2 * secondMs);
    await stopping;
    const [row] = await webhooks.deliveries();
    assert.deepEqual([row?.lease, row?.tries], [null, 0]);
    receiver.answerWith(reply(200));
    webhooks.deliverer.start();
    assert.equal((await webhooks.untilTried(1)).state, "delivered");
  });
});

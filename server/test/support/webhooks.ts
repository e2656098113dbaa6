/** The real parts of the room `webhooks/` on a test database, with receivers on loopback. */
import assert from "node:assert/strict";

import type { Database } from "../../src/db/database.ts";
import type { DeliveryRow, DeliveryTryRow } from "../../src/db/webhook-rows.ts";
import { createEgress } from "../../src/lib/egress.ts";
import { createIds } from "../../src/lib/ids.ts";
import type { Ids } from "../../src/lib/ids.ts";
import { createLog } from "../../src/lib/log.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { secondMs, systemClock } from "../../src/lib/time.ts";
import { createVault } from "../../src/lib/vault.ts";
import { createDeliverer } from "../../src/webhooks/deliverer.ts";
import type { Deliverer } from "../../src/webhooks/deliverer.ts";
import { createEndpoints } from "../../src/webhooks/endpoints.ts";
import type { Endpoints } from "../../src/webhooks/endpoints.ts";
import { insertEvent } from "../../src/webhooks/event-store.ts";
import { createDeliveryLog } from "../../src/webhooks/log.ts";
import type { DeliveryLog } from "../../src/webhooks/log.ts";
import { loadAccountSecret, rotateAccountSecret } from "../../src/webhooks/secrets.ts";
import type { SigningSecret } from "../../src/webhooks/secrets.ts";
import { sweepWebhooks } from "../../src/webhooks/sweep.ts";
import type { TestClock } from "./clock.ts";
import { until } from "./client.ts";
import type { TestDatabase } from "./databases.ts";
import type { Answer, Receiver } from "./receiver.ts";
import { startReceiver } from "./receiver.ts";

export const owner = { accountId: "acc_1", mode: "live" } as const;

export type EventWishes = { webhook?: string | null; accountId?: string; body?: string };

export type TestWebhooks = AsyncDisposable & {
  db: Database;
  clock: TestClock;
  /** Moves time by `ms` at one stroke: loops do not take the turns in between, as in a machine that slept. */
  jump(ms: number): Promise<void>;
  ids: Ids;
  deliverer: Deliverer;
  endpoints: Endpoints;
  log: DeliveryLog;
  loadSecret(): Promise<SigningSecret>;
  rotateSecret(): Promise<SigningSecret>;
  /** Stopped with the rest. */
  startReceiver(answer?: Answer): Promise<Receiver>;
  /** One more deliverer on the same database, as in another process. */
  createDeliverer(): Deliverer;
  /** Commits an event of a completed task and tells the deliverer; its id. */
  addEvent(wishes?: EventWishes): Promise<string>;
  /** Every delivery of the owner, the oldest first. */
  deliveries(): Promise<DeliveryRow[]>;
  /** Waits until the deliveries are as wanted. */
  untilDeliveries(isWanted: (rows: DeliveryRow[]) => boolean): Promise<DeliveryRow[]>;
  /** Waits until the only delivery has been tried so often, and nobody sends it. */
  untilTried(tries: number): Promise<DeliveryRow>;
  tries(): Promise<readonly DeliveryTryRow[]>;
  sweep(): Promise<boolean>;
};

/** One of a deliverer's loops expands events, the other finds what is due. */
const loopsEach = 2;

export type WebhooksOptions = {
  /** What names resolve to; without it none resolves. */
  resolve?: (hostname: string) => Promise<readonly string[]>;
  allow?: readonly string[];
};

/** `countLoops` says how many loops pause between their turns. */
function createJumpingClock(
  clock: TestClock,
  countLoops: () => number,
): {
  clock: TestClock;
  jump(ms: number): Promise<void>;
} {
  let jumpedMs = 0;
  const { sleep, after, advance, untilWaiting } = clock;
  return {
    clock: {
      now: () => clock.now() + jumpedMs,
      monotonic: () => clock.monotonic() + jumpedMs,
      sleep,
      after,
      advance,
      untilWaiting,
      get waiting() {
        return clock.waiting;
      },
    },
    jump: async (ms) => {
      jumpedMs += ms;
      // Two turns of the loops see it, also where one of them is still in the turn before.
      for (let turn = 0; turn < 2; turn += 1) {
        await untilWaiting(countLoops());
        await advance(secondMs);
      }
    },
  };
}

export function openWebhooks(test: TestDatabase, options: WebhooksOptions = {}): TestWebhooks {
  const { db } = test;
  const running = new Set<Deliverer>();
  const { clock, jump } = createJumpingClock(test.clock, () => loopsEach * running.size);
  const egress = createEgress({
    allow: options.allow ?? ["127.0.0.0/8"],
    resolve: options.resolve ?? (() => Promise.reject(new Error("no names in tests"))),
    clock,
  });
  const deps = {
    db,
    clock,
    egress,
    random: systemRandom,
    ids: createIds(systemClock, systemRandom),
    log: createLog("silent"),
    vault: createVault({ key: Buffer.alloc(32, 5), random: systemRandom }),
  };
  const deliverers: Deliverer[] = [];
  const receivers: Receiver[] = [];
  const start = (): Deliverer => {
    const created = createDeliverer(deps);
    const deliverer: Deliverer = {
      ...created,
      start: () => {
        running.add(deliverer);
        created.start();
      },
      stop: () => {
        running.delete(deliverer);
        return created.stop();
      },
    };
    deliverers.push(deliverer);
    return deliverer;
  };
  const deliverer = start();
  const nudged = { ...deps, nudgeOrigin: deliverer.nudgeOrigin };
  const log = createDeliveryLog(nudged);
  const list = async (): Promise<DeliveryRow[]> => {
    const page = { after: null, limit: 10_000 };
    return (await log.listDeliveries(owner, {}, page)).deliveries.toReversed();
  };
  const verbs = {
    deliveries: list,
    untilDeliveries: (isWanted: (rows: DeliveryRow[]) => boolean) => until(list, isWanted),
    untilTried: async (tries: number): Promise<DeliveryRow> => {
      const [row] = await until(list, ([one]) => one?.tries === tries && one.lease === null);
      assert.ok(row !== undefined);
      return row;
    },
    tries: async () => {
      const [row] = await list();
      return (await log.loadDelivery(owner, row?.id ?? "")).tries;
    },
  };
  return {
    db,
    clock,
    ids: deps.ids,
    jump,
    deliverer,
    endpoints: createEndpoints(nudged),
    log,
    loadSecret: () => loadAccountSecret(deps, owner),
    rotateSecret: () => rotateAccountSecret(deps, owner),
    startReceiver: async (answer) => {
      const receiver = await startReceiver(answer);
      receivers.push(receiver);
      return receiver;
    },
    createDeliverer: start,
    addEvent: async ({ webhook = null, accountId = owner.accountId, body = "{}" } = {}) => {
      const id = deps.ids("event");
      const event = {
        account_id: accountId,
        id,
        mode: owner.mode,
        type: "task.completed",
      } as const;
      const rest = { task_id: "task_1", webhook, body, created_at: clock.now(), expanded_at: null };
      await db.transaction((tx) => insertEvent(tx, { ...event, ...rest }));
      deliverer.nudge();
      return id;
    },
    ...verbs,
    sweep: () => sweepWebhooks(deps),
    [Symbol.asyncDispose]: async () => {
      // Cuts what a receiver keeps hanging, so that nothing waits for a clock that stands still.
      await Promise.all(receivers.map((receiver) => receiver.stop()));
      await Promise.all(deliverers.map((each) => each.stop()));
      await egress.close();
    },
  };
}

/**
 * The engine under everything at once: submits, repeats, cancellations, failing vendors, crashes, stops,
 * lost databases and jumps of time, chosen by a seed. Whatever happens, the ledger holds after every
 * step, no task is left without an end, and nothing is bought twice.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { AppError } from "../src/lib/errors.ts";
import { systemRandom } from "../src/lib/random.ts";
import { minuteMs, secondMs } from "../src/lib/time.ts";
import { failureKinds } from "../src/providers/adapter.ts";
import { isFinal, taskTransitions } from "../src/tasks/state.ts";
import type { Life } from "./support/engine-life.ts";
import { onEachEngine, testModel } from "./support/engine.ts";
import type { OpenEngine, TestEngine } from "./support/engine.ts";
import {
  brokenPicture,
  createVendor,
  delivered,
  failedPicture,
  failing,
  picture,
  running,
  silent,
} from "./support/vendor.ts";
import type { Answer, Vendor } from "./support/vendor.ts";

/** Repeats one run: the seed that a failure has printed. */
const repeated = process.env["DARKROOM_SCENARIO_SEED"];
/** A step costs several times as much where every statement is a round trip. */
const steps = { sqlite: 70, postgres: 40 } as const;
const deadlineMs = 3 * minuteMs;

type Dice = {
  /** In [0, 1). */
  roll(): number;
  below(n: number): number;
  pick<T>(list: readonly T[]): T;
  chance(share: number): boolean;
};

/** Mulberry32: small, even enough, and the same everywhere. */
function createDice(seed: number): Dice {
  let state = seed >>> 0;
  const roll = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number): number => Math.floor(roll() * n);
  return {
    roll,
    below,
    pick: (list) => list[below(list.length)]!,
    chance: (share) => roll() < share,
  };
}

/** Every call is answered by what the dice say at that moment. */
function moody(choose: () => Answer): Answer {
  return { give: (job, call, handle) => choose().give(job, call, handle) };
}

function chooseSubmit(dice: Dice): Answer {
  if (dice.chance(0.5)) return running(100 + dice.below(8_000));
  if (dice.chance(0.5)) return delivered();
  return failing(dice.pick(failureKinds), dice.chance(0.5) ? { retryAfterMs: 15_000 } : {});
}

function choosePoll(dice: Dice): Answer {
  if (dice.chance(0.3)) return running(100 + dice.below(5_000));
  if (dice.chance(0.2)) return failing(dice.pick(failureKinds));
  return {
    give: (job) => ({
      status: "done",
      usage: { cost: 1_000 },
      pictures: job.slots.map((slot) => {
        if (dice.chance(0.85)) return picture(slot);
        return dice.chance(0.5) ? brokenPicture() : failedPicture(dice.pick(failureKinds));
      }),
    }),
  };
}

type World = {
  engine: TestEngine;
  dice: Dice;
  vendors: readonly Vendor[];
  lives: Life[];
  tasks: string[];
  /** The task of every idempotency key, as the first reply said. */
  keys: Map<string, string>;
};

const deeds: readonly { weight: number; run(world: World): Promise<void> }[] = [
  { weight: 30, run: submit },
  { weight: 10, run: cancel },
  { weight: 40, run: passTime },
  { weight: 5, run: crash },
  { weight: 3, run: stop },
  { weight: 4, run: join },
  { weight: 4, run: loseDatabase },
  { weight: 4, run: silence },
];

async function submit({ engine, dice, tasks, keys }: World): Promise<void> {
  const key = `key ${dice.below(15)}`;
  const body = { model: testModel, prompt: "a lighthouse", n: 1 + dice.below(4) };
  const idempotency = dice.chance(0.4) ? { route: "POST /", key, digest: "d" } : null;
  const copies = dice.chance(0.2) ? 3 : 1;
  const results = await Promise.allSettled(
    Array.from({ length: copies }, () => engine.submitTask({ body, idempotency })),
  );
  for (const result of results) {
    if (result.status === "rejected") {
      const { reason } = result as { reason: unknown };
      assert.ok(reason instanceof AppError && reason.reason === "insufficient_balance");
      continue;
    }
    const { taskId } = result.value;
    if (!tasks.includes(taskId)) tasks.push(taskId);
    if (idempotency === null) continue;
    assert.equal(keys.get(key) ?? taskId, taskId, "a key made two tasks");
    keys.set(key, taskId);
  }
}

async function cancel({ engine, dice, tasks }: World): Promise<void> {
  if (tasks.length === 0) return;
  const id = dice.chance(0.5) ? tasks.at(-1)! : dice.pick(tasks);
  try {
    await engine.cancel(id);
  } catch (error) {
    assert.ok(error instanceof AppError && error.reason === "task_already_ended");
  }
}

async function passTime({ engine, dice }: World): Promise<void> {
  await engine.pass(dice.chance(0.1) ? 40 * secondMs : dice.below(3_000));
}

async function crash(world: World): Promise<void> {
  world.lives.splice(world.dice.below(world.lives.length), 1)[0]?.crash();
  if (world.dice.chance(0.3)) await world.engine.pass(world.dice.below(30_000));
  await keepAlive(world);
}

async function stop(world: World): Promise<void> {
  const [life] = world.lives.splice(world.dice.below(world.lives.length), 1);
  if (life === undefined) return;
  // With the database away a stop fails; then the others find out by themselves.
  const stopped = life.stop().then(
    () => true,
    () => true,
  );
  const isOver = Promise.race([stopped, world.engine.pass(20 * secondMs).then(() => false)]);
  if (!(await isOver)) life.crash();
  await keepAlive(world);
}

/** One SQLite folder has one process; PostgreSQL takes any number. */
async function join(world: World): Promise<void> {
  const { engine, lives } = world;
  if (engine.db.dialect === "postgres" && lives.length < 3) lives.push(await engine.start());
}

async function keepAlive({ engine, lives }: World): Promise<void> {
  if (lives.length === 0) lives.push(await engine.start({ tasksMax: 5 }));
}

async function loseDatabase({ engine, dice, lives }: World): Promise<void> {
  const life = dice.pick(lives);
  life.cutOff(true);
  await engine.pass(dice.below(25_000));
  life.cutOff(false);
}

async function silence({ dice, vendors }: World): Promise<void> {
  const vendor = dice.pick(vendors);
  if (dice.chance(0.5)) vendor.onSubmit(silent());
  else vendor.onPoll(silent());
}

function chooseDeed(dice: Dice): (typeof deeds)[number] {
  const total = deeds.reduce((sum, { weight }) => sum + weight, 0);
  let left = dice.roll() * total;
  return deeds.find(({ weight }) => (left -= weight) < 0) ?? deeds[0]!;
}

async function play(open: OpenEngine, seed: number): Promise<void> {
  const dice = createDice(seed);
  const answers = {
    submit: moody(() => chooseSubmit(dice)),
    poll: moody(() => choosePoll(dice)),
  };
  const vendors = [
    createVendor({ name: "once", resend: "never", timeoutMs: minuteMs, ...answers }),
    createVendor({
      name: "again",
      resend: "safe",
      picturesMax: 4,
      timeoutMs: minuteMs,
      ...answers,
    }),
  ];
  const random = { bytes: systemRandom.bytes, fraction: dice.roll };
  await using engine = await open({ vendors, random, deadlineMs, funds: 2_000_000 });
  const world: World = { engine, dice, vendors, lives: [], tasks: [], keys: new Map() };
  await keepAlive(world);
  for (let step = 0; step < steps[engine.db.dialect]; step += 1) {
    await chooseDeed(dice).run(world);
    await engine.rest();
    await engine.checkLedger();
  }
  await finish(world);
}

/** Within one more deadline every task has ended, and the books are closed. */
async function finish(world: World): Promise<void> {
  const { engine, tasks, vendors } = world;
  const hasEnded = async (id: string): Promise<boolean> =>
    isFinal(taskTransitions, (await engine.find(id)).state);
  await engine.run(
    async () => {
      for (const id of tasks) if (!(await hasEnded(id))) return false;
      return true;
    },
    deadlineMs + 30 * secondMs,
  );
  await engine.rest();
  await engine.checkLedger();
  assert.equal((await engine.balance()).held, 0);
  assert.deepEqual(await engine.db.read.selectFrom("queue").selectAll().execute(), []);

  const rows = await engine.db.read.selectFrom("tasks").selectAll().execute();
  assert.deepEqual(rows.map(({ id }) => id).toSorted(), tasks.toSorted());
  for (const row of rows) await assertClosed(engine, row);
  const [once] = vendors;
  assert.equal(new Set(once!.submitted).size, once!.submitted.length, "bought twice");
}

type Row = { id: string; state: string; held: number; captured: number; ended_at: number | null };

async function assertClosed(engine: TestEngine, row: Row): Promise<void> {
  const entries = await engine.db.read
    .selectFrom("ledger")
    .select(["kind", "held"])
    .where("task_id", "=", row.id)
    .execute();
  const sumOf = (kind: string): number =>
    entries.filter((entry) => entry.kind === kind).reduce((sum, { held }) => sum - held, 0);
  assert.equal(sumOf("capture") + sumOf("release"), row.held, `${row.id}: money is left over`);
  assert.equal(sumOf("capture"), row.captured);

  const slots = await engine.slots(row.id);
  const done = slots.filter(({ state }) => state === "done");
  assert.equal(
    done.reduce((sum, { captured }) => sum + captured, 0),
    row.captured,
  );
  assert.equal(row.state === "completed", done.length > 0);
  assert.ok(slots.every(({ state }) => state !== "open"));
  const attempts = await engine.attempts(row.id);
  assert.ok(attempts.every(({ state }) => state !== "sent" && state !== "running"));

  const outputs = await engine.db.read
    .selectFrom("outputs")
    .select(["slot", "object", "bytes"])
    .where("task_id", "=", row.id)
    .orderBy("slot")
    .execute();
  assert.deepEqual(
    outputs.map(({ slot }) => slot),
    done.map(({ slot }) => slot),
  );
  for (const { object, bytes } of outputs) {
    assert.equal((await engine.storage.stat(object))?.bytes, bytes);
  }
}

onEachEngine((name, open) => {
  const chosen = systemRandom.bytes(4).readUInt32BE();
  const seeds = repeated === undefined ? [20_260_101, chosen] : [Number(repeated)];
  for (const [index, seed] of seeds.entries()) {
    const label = index === 0 ? "the usual" : "another";
    test(`whatever happens to it, every task ends once and its money adds up: ${label} run`, async () => {
      try {
        await play(open, seed);
      } catch (error) {
        throw new Error(`repeat with DARKROOM_SCENARIO_SEED=${seed} on ${name}`, { cause: error });
      }
    });
  }
});

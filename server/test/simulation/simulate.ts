/** One run: deeds chosen by a seed, oracles after each of them, and a calm end in which everything is settled. */
import { createHash } from "node:crypto";

import { sql } from "kysely";

import { minuteMs, secondMs } from "../../src/lib/time.ts";
import { isFinal, taskTransitions } from "../../src/tasks/state.ts";
import { deeds, pass } from "./deeds.ts";
import { deadlineMs } from "./gateway.ts";
import { checkBooks, checkEnd, checkStep } from "./oracles.ts";
import { createWorld } from "./world.ts";
import type { World } from "./world.ts";

export type Outcome = {
  seed: number;
  /** Empty when every promise was kept. */
  problems: readonly string[];
  /** Equal for equal runs: everything that happened, and every row that is left. */
  fingerprint: string;
  facts: Readonly<Record<string, number>>;
  trace: readonly string[];
};

const stepsMax = 60;
const booksEvery = 15;
/** Longer than a receiver waits for its next try, than the lease of one that was cut short, and than places are kept. */
const settleMs = 4 * minuteMs;
/** Longer than a vendor takes for anything, so that its last bill is written. */
const vendorsEndMs = 4 * minuteMs;

/** `tamper` is called when everything has settled, before the last look: for proof that the oracles see. */
export async function simulate(
  seed: number,
  tamper: (world: World) => Promise<void> | void = () => undefined,
): Promise<Outcome> {
  const world = await createWorld(seed);
  try {
    await play(world, tamper);
  } catch (error) {
    world.problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  const outcome = await report(world);
  end(world);
  await world.db.close();
  return outcome;
}

async function play(world: World, tamper: (world: World) => Promise<void> | void): Promise<void> {
  for (let step = 1; step <= stepsMax && world.problems.length === 0; step += 1) {
    const deed = chooseDeed(world);
    world.note(`-- ${deed.name}`);
    await deed.run(world);
    await checkStep(world);
    if (step % booksEvery === 0) await checkBooks(world);
  }
  if (world.problems.length > 0) return;
  await settle(world);
  await tamper(world);
  await checkEnd(world);
}

function chooseDeed({ dice }: World): (typeof deeds)[number] {
  const total = deeds.reduce((sum, { weight }) => sum + weight, 0);
  let left = dice.fraction() * total;
  const chosen = deeds.find(({ weight }) => (left -= weight) < 0);
  return chosen ?? deeds[0]!;
}

/** No further accident: within a deadline, and what a restart takes, every task has ended, every place is free and every end told of. */
async function settle(world: World): Promise<void> {
  world.weather.isCalm = true;
  const endMs = world.clock.monotonic() + deadlineMs + settleMs;
  while (world.clock.monotonic() < endMs && (await countOpen(world)) > 0) {
    await pass(world, 5 * secondMs);
    await checkStep(world);
  }
  // The gateway has nothing to do any more, and costs the most of a run's time.
  end(world);
  await world.clock.advance(vendorsEndMs);
}

function end({ nodes }: World): void {
  for (const { gateway } of nodes) gateway.life.isDead = true;
}

async function countOpen({ db }: World): Promise<number> {
  const tasks = await db.read.selectFrom("tasks").select("state").execute();
  const open = tasks.filter(({ state }) => !isFinal(taskTransitions, state)).length;
  const { rows } = await sql<{ rest: number }>`select
    (select count(*) from events where expanded_at is null) +
    (select count(*) from deliveries where state = 'pending') +
    (select count(*) from channel_load where in_flight > 0) as rest`.execute(db.read);
  return open + (rows[0]?.rest ?? 0);
}

const tables = [
  "tasks",
  "slots",
  "attempts",
  "ledger",
  "costs",
  "balances",
  "events",
  "deliveries",
  "delivery_tries",
  "outputs",
  "references",
];

async function report(world: World): Promise<Outcome> {
  const { seed, db, trace, problems, accepted, vendors, receiver, nodes } = world;
  const digest = createHash("sha256").update(trace.join("\n"));
  for (const table of tables) {
    const { rows } = await sql`select * from ${sql.table(table)}`.execute(db.read);
    digest.update(JSON.stringify(rows));
  }
  const states = await db.read
    .selectFrom("attempts")
    .select((row) => ["state", row.fn.countAll<number>().as("count")])
    .groupBy("state")
    .execute();
  const ends = await db.read
    .selectFrom("tasks")
    .select((row) => ["state", row.fn.countAll<number>().as("count")])
    .groupBy("state")
    .execute();
  return {
    seed,
    problems,
    fingerprint: digest.digest("hex"),
    facts: {
      tasks: accepted.size,
      bills: vendors.reduce((sum, { bills }) => sum + bills.length, 0),
      nodes: nodes.length,
      deaths: countEvents(trace, "the process has died"),
      takeovers: countEvents(trace, "took over the tasks"),
      told: receiver.told.length,
      ...Object.fromEntries(states.map(({ state, count }) => [`attempts ${state}`, count])),
      ...Object.fromEntries(ends.map(({ state, count }) => [`tasks ${state}`, count])),
    },
    trace,
  };
}

function countEvents(trace: readonly string[], words: string): number {
  return trace.filter((event) => event.includes(words)).length;
}

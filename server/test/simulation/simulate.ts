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
/** Longer than a place of an unknown attempt is kept. */
const placesEndMs = 70 * secondMs;
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
  world.gateway.life.isDead = true;
  await world.db.close();
  return outcome;
}

async function play(world: World, tamper: (world: World) => Promise<void> | void): Promise<void> {
  for (let step = 1; step <= stepsMax && world.problems.length === 0; step += 1) {
    const deed = chooseDeed(world);
    world.trace.push(`${world.clock.monotonic()} -- ${deed.name}`);
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

/** No further accident: within a deadline, and what a restart takes, every task has ended. */
async function settle(world: World): Promise<void> {
  const endMs = world.clock.monotonic() + deadlineMs + 2 * minuteMs;
  while (world.clock.monotonic() < endMs && (await countOpen(world)) > 0) {
    await pass(world, 10 * secondMs);
    await checkStep(world);
  }
  await pass(world, placesEndMs);
  // The gateway has nothing to do any more, and costs the most of a run's time.
  world.gateway.life.isDead = true;
  await world.clock.pass(vendorsEndMs);
}

async function countOpen({ db }: World): Promise<number> {
  const tasks = await db.read.selectFrom("tasks").select("state").execute();
  return tasks.filter(({ state }) => !isFinal(taskTransitions, state)).length;
}

const tables = ["tasks", "slots", "attempts", "ledger", "costs", "balances", "events", "outputs"];

async function report({ seed, db, trace, problems, accepted, vendors }: World): Promise<Outcome> {
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
      deaths: trace.filter((event) => event.endsWith("the process has died")).length,
      ...Object.fromEntries(states.map(({ state, count }) => [`attempts ${state}`, count])),
      ...Object.fromEntries(ends.map(({ state, count }) => [`tasks ${state}`, count])),
    },
    trace,
  };
}

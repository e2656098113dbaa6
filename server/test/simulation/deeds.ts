/** What callers, operators and accidents do to the gateway. Each deed is chosen and shaped by the dice. */
import { credit } from "../../src/billing/ledger.ts";
import { disableChannel, enableChannel } from "../../src/channels/add.ts";
import { AppError } from "../../src/lib/errors.ts";
import { secondMs } from "../../src/lib/time.ts";
import { testModel } from "../support/engine.ts";
import { startSimulatedGateway } from "./gateway.ts";
import type { Wish } from "./gateway.ts";
import type { World } from "./world.ts";

type Deed = { name: string; weight: number; run(world: World): Promise<void> | void };

export const deeds: readonly Deed[] = [
  { name: "submit", weight: 30, run: submit },
  { name: "cancel", weight: 8, run: cancel },
  { name: "wait", weight: 36, run: (world) => pass(world, waitMs(world.dice)) },
  { name: "kill", weight: 3, run: kill },
  { name: "plan a death", weight: 5, run: planDeath },
  { name: "stop", weight: 2, run: stop },
  { name: "lose the database", weight: 3, run: loseDatabase },
  { name: "lose the store", weight: 3, run: loseStorage },
  { name: "change a vendor's health", weight: 5, run: changeHealth },
  { name: "switch a channel", weight: 2, run: switchChannel },
  { name: "add money", weight: 2, run: addMoney },
];

const stepMs = 500;
const keysMax = 12;

/** Lets time pass, and another process take the place of one that has died. */
export async function pass(world: World, ms: number): Promise<void> {
  const { clock } = world;
  const untilMs = clock.monotonic() + ms;
  do {
    const begun = clock.monotonic();
    await clock.pass(Math.min(stepMs, untilMs - begun));
    const { life } = world.gateway;
    if (!life.isDead && !life.isCutOff) world.servedMs += clock.monotonic() - begun;
    if (life.isDead) await restart(world);
  } while (clock.monotonic() < untilMs);
}

function waitMs(dice: World["dice"]): number {
  return dice.isLucky(0.1) ? dice.between(10_000, 40_000) : dice.between(1, 3_000);
}

async function restart(world: World): Promise<void> {
  const { dice, clock } = world;
  world.trace.push(`${clock.monotonic()} the process has died`);
  await clock.pass(dice.isLucky(0.5) ? dice.between(1, 1_000) : dice.between(1_000, 15_000));
  // Some die again while they start.
  const pointsLeft = dice.isLucky(0.15) ? dice.between(1, 20) : 0;
  world.gateway = startSimulatedGateway(world, pointsLeft);
  await clock.pass(1);
}

async function submit(world: World): Promise<void> {
  const { dice } = world;
  const caller = dice.pick(world.callers);
  const number = dice.between(1, keysMax);
  const isRepeatable = dice.isLucky(0.4);
  // A body goes with its key: the same key with another body is the caller's mistake.
  const wish: Wish = isRepeatable
    ? {
        caller,
        body: createBody(number),
        idempotency: { route: "POST /", key: `key ${number}`, digest: `body ${number}` },
      }
    : { caller, body: createBody(dice.between(0, 999)), idempotency: null };
  const copies = dice.isLucky(0.15) ? 3 : 1;
  for (let copy = 0; copy < copies; copy += 1) void send(world, wish);
  await pass(world, 1);
}

function createBody(number: number): Wish["body"] {
  return {
    model: testModel,
    prompt: `a lighthouse, number ${number}`,
    n: 1 + (number % 4),
    ...(number % 3 === 0 ? { official_fallback: true } : {}),
    ...(number % 5 === 0 ? { webhook: "https://caller.example/hook" } : {}),
  };
}

/** Why a submit may be refused; nothing else is an answer to these bodies. */
const refusals: readonly string[] = [
  "insufficient_balance",
  "spend_cap_reached",
  "task_limit_reached",
  "daily_spend_reached",
  "idempotency_in_progress",
  "idempotency_unavailable",
  "no_channel",
  "overloaded",
  "unavailable",
];

/** The reply may never come: then nobody was told of a task, and there may be one or none. */
async function send(world: World, { caller, body, idempotency }: Wish): Promise<void> {
  try {
    const { taskId } = await world.gateway.submit({ caller, body, idempotency });
    world.trace.push(`${world.clock.monotonic()} accepted ${taskId}`);
    world.accepted.set(taskId, caller);
    if (idempotency === null) return;
    const scope = `${caller.accountId} ${caller.mode} ${idempotency.key}`;
    const known = world.keys.get(scope) ?? taskId;
    if (known !== taskId) world.problems.push(`${scope} stands for ${known} and for ${taskId}`);
    world.keys.set(scope, taskId);
  } catch (error) {
    const reason = error instanceof AppError ? error.reason : String(error);
    world.trace.push(`${world.clock.monotonic()} refused: ${reason}`);
    if (!refusals.includes(reason)) world.problems.push(`a submit was answered with ${reason}`);
  }
}

async function cancel(world: World): Promise<void> {
  const { dice, accepted, gateway } = world;
  const chosen = dice.pick([...accepted].slice(-8));
  if (chosen === undefined) return;
  const [taskId, caller] = chosen;
  gateway.cancel(caller, taskId).catch((error: unknown) => {
    const isAnswer =
      error instanceof AppError && ["task_already_ended", "unavailable"].includes(error.reason);
    if (!isAnswer) world.problems.push(`a cancellation was answered with ${String(error)}`);
  });
  await pass(world, 1);
}

async function kill(world: World): Promise<void> {
  world.gateway.life.isDead = true;
  await pass(world, 1);
}

/** Death at one of the next statements, commits, sends or writes. */
function planDeath({ gateway, dice }: World): void {
  if (gateway.life.pointsLeft === 0) gateway.life.pointsLeft = dice.between(1, 80);
}

async function stop(world: World): Promise<void> {
  const { gateway } = world;
  const over = new AbortController();
  const end = (): void => over.abort();
  gateway.stop().then(end, end);
  // A stop waits for what may be paid for already; an operator does not wait for ever.
  for (let waits = 0; waits < 30 && !over.signal.aborted && world.gateway === gateway; waits += 1) {
    await pass(world, secondMs);
  }
  if (world.gateway === gateway) await kill(world);
}

async function loseDatabase(world: World): Promise<void> {
  const { life } = world.gateway;
  life.isCutOff = true;
  await pass(world, world.dice.between(100, 25_000));
  life.isCutOff = false;
}

async function loseStorage(world: World): Promise<void> {
  world.storage.isAway = true;
  await pass(world, world.dice.between(100, 20_000));
  world.storage.isAway = false;
}

function changeHealth({ dice, vendors }: World): void {
  dice.pick(vendors).health = dice.pick([0, 0.4, 0.8, 1, 1]);
}

async function switchChannel({ db, dice, vendors, clock }: World): Promise<void> {
  const { name } = dice.pick(vendors);
  const now = clock.now();
  const isOff = dice.isLucky(0.4);
  await db.transaction((tx) =>
    isOff ? disableChannel(tx, name, { reason: "a test", now }) : enableChannel(tx, name, now),
  );
}

async function addMoney({ db, dice, callers, clock, ids }: World): Promise<void> {
  const { accountId } = dice.pick(callers);
  const wanted = { accountId, mode: "live", reference: ids("request"), note: null } as const;
  const amount = dice.between(1, 300_000);
  await db.transaction((tx) => credit(tx, { ...wanted, amount, now: clock.now() }));
}

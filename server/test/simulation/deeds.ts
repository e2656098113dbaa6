/** What callers, operators and accidents do to the gateway. Each deed is chosen and shaped by the dice. */
import { credit } from "../../src/billing/ledger.ts";
import { disableChannel, enableChannel } from "../../src/channels/add.ts";
import { AppError } from "../../src/lib/errors.ts";
import { secondMs } from "../../src/lib/time.ts";
import { testModel } from "../support/engine.ts";
import type { Life } from "../support/mortal.ts";
import { startSimulatedGateway } from "./gateway.ts";
import type { Wish } from "./gateway.ts";
import { receiverHosts, referenceHost, referenceKinds } from "./servers.ts";
import type { Node, World } from "./world.ts";

type Deed = { name: string; weight: number; run(world: World): Promise<void> | void };

export const deeds: readonly Deed[] = [
  { name: "submit", weight: 30, run: submit },
  { name: "cancel", weight: 8, run: cancel },
  { name: "wait", weight: 36, run: (world) => pass(world, waitMs(world.dice)) },
  { name: "kill", weight: 3, run: kill },
  { name: "plan a death", weight: 5, run: planDeath },
  { name: "freeze", weight: 4, run: freeze },
  { name: "stop", weight: 2, run: stop },
  { name: "lose the database", weight: 3, run: loseDatabase },
  { name: "lose the store", weight: 3, run: loseStorage },
  { name: "move a clock", weight: 2, run: moveClock },
  { name: "change a vendor's health", weight: 5, run: changeHealth },
  { name: "switch a channel", weight: 2, run: switchChannel },
  { name: "add money", weight: 2, run: addMoney },
];

const stepMs = 500;
const keysMax = 12;
/** Until the next beat; the ledger's check forgives two nodes that are a minute apart. */
const jumpMsMax = 15 * secondMs;

/** Lets time pass, and other processes take the places of those that have died. */
export async function pass(world: World, ms: number): Promise<void> {
  const { clock, nodes } = world;
  const untilMs = clock.monotonic() + ms;
  do {
    const begun = clock.monotonic();
    await clock.advance(Math.min(stepMs, untilMs - begun));
    if (nodes.some(isServing)) world.servedMs += clock.monotonic() - begun;
    for (const node of nodes) if (node.gateway.life.isDead) replace(world, node);
  } while (clock.monotonic() < untilMs);
}

function isServing({ gateway: { life } }: Node): boolean {
  return !life.isDead && !life.isCutOff && !isFrozen(life);
}

function isFrozen({ thaw = null }: Life): boolean {
  return thaw !== null;
}

function waitMs(dice: World["dice"]): number {
  return dice.isLucky(0.1) ? dice.between(10_000, 40_000) : dice.between(1, 3_000);
}

/** A dead process is seen to be dead, and later another one starts. */
function replace(world: World, node: Node): void {
  const { dice, clock, note } = world;
  if (node.startsAtMs === null) {
    note(`the process has died on ${node.machine.name}`);
    const pauseMs = dice.isLucky(0.5) ? dice.between(1, 1_000) : dice.between(1_000, 15_000);
    node.startsAtMs = clock.monotonic() + pauseMs;
  }
  if (clock.monotonic() < node.startsAtMs) return;
  node.startsAtMs = null;
  // Some die again while they start.
  const pointsLeft = dice.isLucky(0.15) ? dice.between(1, 20) : 0;
  const life = { isDead: false, isCutOff: node.isCutOff, pointsLeft };
  node.gateway = startSimulatedGateway(world, node.machine, life);
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
  const host = receiverHosts[number % receiverHosts.length];
  return {
    model: testModel,
    prompt: `a lighthouse, number ${number}`,
    n: 1 + (number % 4),
    ...(number % 3 === 0 ? { official_fallback: true } : {}),
    ...(number % 2 === 0 ? { webhook: `https://${host}/hook` } : {}),
    ...(number % 4 === 1 ? { image_urls: listReferences(number) } : {}),
  };
}

function listReferences(number: number): string[] {
  return Array.from({ length: 1 + (number % 2) }, (_, index) => {
    const kind = referenceKinds[(number + index * 3) % referenceKinds.length];
    return `https://${referenceHost}/${kind}/${number + index}`;
  });
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
    const { taskId } = await pickNode(world).gateway.submit({ caller, body, idempotency });
    world.note(`accepted ${taskId}`);
    world.accepted.set(taskId, caller);
    if (idempotency === null) return;
    const scope = `${caller.accountId} ${caller.mode} ${idempotency.key}`;
    const known = world.keys.get(scope) ?? taskId;
    if (known !== taskId) world.problems.push(`${scope} stands for ${known} and for ${taskId}`);
    world.keys.set(scope, taskId);
  } catch (error) {
    const reason = error instanceof AppError ? error.reason : String(error);
    world.note(`refused: ${reason}`);
    if (!refusals.includes(reason)) world.problems.push(`a submit was answered with ${reason}`);
  }
}

async function cancel(world: World): Promise<void> {
  const { dice, accepted } = world;
  const chosen = dice.pick([...accepted].slice(-8));
  if (chosen === undefined) return;
  const [taskId, caller] = chosen;
  const { gateway } = pickNode(world);
  gateway.cancel(caller, taskId).catch((error: unknown) => {
    const isAnswer =
      error instanceof AppError && ["task_already_ended", "unavailable"].includes(error.reason);
    if (!isAnswer) world.problems.push(`a cancellation was answered with ${String(error)}`);
  });
  await pass(world, 1);
}

function pickNode({ dice, nodes }: World): Node {
  return dice.pick(nodes);
}

async function kill(world: World): Promise<void> {
  pickNode(world).gateway.life.isDead = true;
  await pass(world, 1);
}

/** Death at one of the next statements, commits, exchanges or writes. */
function planDeath(world: World): void {
  const { life } = pickNode(world).gateway;
  if ((life.pointsLeft ?? 0) === 0) life.pointsLeft = world.dice.between(1, 80);
}

/** For a moment, or for so long that others take over what the process holds. */
async function freeze(world: World): Promise<void> {
  const { dice, clock } = world;
  const { life } = pickNode(world).gateway;
  if (life.isDead || isFrozen(life)) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  life.thaw = promise;
  clock.after(dice.isLucky(0.5) ? dice.between(50, 5_000) : dice.between(15_000, 40_000), () => {
    life.thaw = null;
    resolve();
  });
  await pass(world, 1);
}

async function stop(world: World): Promise<void> {
  const node = pickNode(world);
  const { gateway } = node;
  const over = new AbortController();
  const end = (): void => over.abort();
  gateway.stop().then(end, end);
  // A stop waits for what may be paid for already; an operator does not wait for ever.
  for (let waits = 0; waits < 30 && !over.signal.aborted && node.gateway === gateway; waits += 1) {
    await pass(world, secondMs);
  }
  gateway.life.isDead = true;
  await pass(world, 1);
}

/** To one node, or to all of them. */
async function loseDatabase(world: World): Promise<void> {
  const { dice, clock, nodes } = world;
  const cut = dice.isLucky(0.4) ? nodes : [pickNode(world)];
  const setCutOff = (isCutOff: boolean): void => {
    for (const node of cut) {
      node.isCutOff = isCutOff;
      node.gateway.life.isCutOff = isCutOff;
    }
  };
  setCutOff(true);
  clock.after(dice.between(100, 25_000), () => setCutOff(false));
  await pass(world, 1);
}

async function loseStorage(world: World): Promise<void> {
  const { dice, clock, storage } = world;
  storage.isAway = true;
  clock.after(dice.between(100, 20_000), () => {
    storage.isAway = false;
  });
  await pass(world, 1);
}

/** Somebody sets a machine's clock, or something does. Where one process is alone, nobody can tell. */
function moveClock(world: World): void {
  if (!world.isShared) return;
  pickNode(world).machine.clock.adjustBy(world.dice.between(-jumpMsMax, jumpMsMax));
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

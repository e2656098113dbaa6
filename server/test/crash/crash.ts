/**
 * Kills a server again and again while callers use it, and then asks whether it kept its promises: no
 * accepted task is lost, none is done twice, the money adds up, and nothing is left lying about.
 */
import assert from "node:assert/strict";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Task } from "../../../client/src/tasks.ts";
import { systemClock } from "../../src/lib/time.ts";
import { until } from "../support/client.ts";
import { collectPictures, countColour } from "../support/pictures.ts";
import { startReferenceServer } from "../support/reference-server.ts";
import type { ReferenceServer } from "../support/reference-server.ts";
import { auditFolder, countQueued, findTasksByMark, loadKeys } from "./audit.ts";
import { createDice } from "./dice.ts";
import { createLives } from "./lives.ts";
import type { Lives, LivesReport } from "./lives.ts";
import { startLoad } from "./load.ts";
import type { Counts, Load } from "./load.ts";
import { createMenu } from "./orders.ts";
import type { Order } from "./orders.ts";
import { addTestKey, createTestKey, findFreePort } from "./server-process.ts";

export type CrashOptions = {
  /** Processes that end by SIGKILL; stops in order come on top. */
  kills: number;
  seed: number;
  /** Told of every death, as a line of text. */
  log(line: string): void;
};

export type CrashReport = {
  /** Promises that were broken; empty when all is well. */
  problems: string[];
  /** What happened, for people. */
  facts: Record<string, number | string>;
};

const ordersMax = 12;
/** Objects that can be stored and not yet committed at the moment of a kill. */
const orphansMaxAKill = 8;

/** Runs on a folder of its own, which is removed unless a promise was broken. */
export async function runCrashes(options: CrashOptions): Promise<CrashReport> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "darkroom-crash-")));
  const references = await startReferenceServer();
  try {
    const report = await crash(await prepare(root, references, options));
    if (report.problems.length === 0) await rm(root, { recursive: true, force: true });
    else options.log(`the data is kept in ${root}`);
    return report;
  } catch (error) {
    options.log(`the data is kept in ${root}`);
    throw error;
  } finally {
    await references.stop();
  }
}

type Run = { folder: string; seed: number; load: Load; lives: Lives };

async function prepare(
  root: string,
  references: ReferenceServer,
  { kills, seed, log }: CrashOptions,
): Promise<Run> {
  const folder = join(root, "data");
  const port = await findFreePort();
  const dice = createDice(seed);
  const first = await createTestKey(folder, "first");
  const second = await createTestKey(folder, "second");
  // Two callers with one key, and two keys of one account.
  const keys = [first, first, second, await addTestKey(folder, "second")];
  const menu = await createMenu(references);
  const origin = `http://127.0.0.1:${port}`;
  const load = startLoad({ origin, keys, menu, dice: dice.fork(), ordersMax });
  const onDeath = (life: number, death: object): void =>
    log(`life ${life}: ${JSON.stringify(death)}`);
  const lives = createLives({
    root,
    folder,
    port,
    kills,
    dice: dice.fork(),
    nextAcknowledgement: () => load.nextAcknowledgement(),
    onDeath,
  });
  return { folder, seed, load, lives };
}

async function crash({ folder, seed, load, lives }: Run): Promise<CrashReport> {
  const begun = systemClock.monotonic();
  try {
    await lives.run();
    await load.stop();
    const drainedMs = await drain(folder, load);
    const broken = await checkOrders(load.orders);
    const lived = await lives.stop();
    const audit = await auditFolder(folder);
    const { orphans, tasks, pictures, entries } = audit;
    const isLittered = orphans > lived.kills * orphansMaxAKill;
    const problems = [
      ...lived.problems,
      ...load.problems,
      ...broken,
      ...checkTasks(folder, load.orders),
      ...audit.problems,
      ...(isLittered ? [`${orphans} stored objects belong to nobody`] : []),
    ];
    const seconds = Math.round((systemClock.monotonic() - begun) / 1_000);
    const counts = { tasks, pictures, entries, orphans, drainedMs, seconds };
    return {
      problems: [...new Set(problems)],
      facts: { seed, ...describe(load, lived), ...counts },
    };
  } finally {
    await lives.abandon();
    await load.abandon();
  }
}

/** Waits until every task has ended, those included that nobody knows of; gives how long that took. */
async function drain(folder: string, load: Load): Promise<number> {
  const begun = systemClock.monotonic();
  await until(
    async () => countQueued(folder),
    (queued) => queued === 0,
  );
  const drainedMs = Math.round(systemClock.monotonic() - begun);
  // Twice, and those that ended long ago too: an ended task never changes.
  for (let round = 0; round < 2; round += 1) {
    for (const order of load.orders) if (order.taskId !== null) await load.poll(order);
  }
  return drainedMs;
}

async function checkOrders(orders: readonly Order[]): Promise<string[]> {
  const problems: string[] = [];
  for (const order of orders) {
    try {
      await checkOrder(order);
    } catch (error) {
      const words = error instanceof Error ? error.message : String(error);
      problems.push(`${order.kind} ${order.mark} ${order.taskId}: ${words}; ${order.ended}`);
    }
  }
  return problems;
}

/** An acknowledged task has ended as its prompt promised, and its links serve what it says. */
async function checkOrder({ key, taskId, ended, cancels, promised, insets }: Order): Promise<void> {
  assert.ok(taskId !== null || key === null, "a submit with a key was never acknowledged");
  if (taskId === null) return;
  assert.ok(ended !== null, "an acknowledged task has not ended");
  const { data: task } = JSON.parse(`{"code":200${ended}`) as { data: Task };
  assert.equal(task.id, taskId);
  if (cancels > 0 && task.status === "cancelled") return;
  assert.equal(task.status, promised.status);
  if (promised.status === "failed") return assert.equal(task.error?.code, promised.code);
  const missing = (task.result?.errors ?? []).filter(({ code }) => code === "no_image");
  assert.ok(missing.length === promised.missing || cancels > 0, "other pictures are missing");
  const pictures = await collectPictures(task);
  const { width, height, format } = promised;
  const { length } = pictures;
  assert.ok(length === promised.pictures || (cancels > 0 && length <= promised.pictures));
  const shown = pictures.map((picture) => {
    assert.deepEqual(
      { width: picture.width, height: picture.height, format: picture.format },
      { width, height, format },
    );
    return insets.findIndex((colour) => countColour(picture, colour, 12) > 1_000);
  });
  if (insets.length === 0) return;
  assert.ok(!shown.includes(-1), "a picture does not show its reference");
  assert.equal(new Set(shown).size, 1, "pictures of one task show different references");
}

/** One task an order, and no other: found by the marks in the prompts and by the idempotency keys. */
function checkTasks(folder: string, orders: readonly Order[]): string[] {
  const problems: string[] = [];
  const byMark = findTasksByMark(folder, /\bc\d+n\d+x\b/);
  const byKey = loadKeys(folder);
  for (const { mark, key, taskId, lost } of orders) {
    const found = byMark.get(mark) ?? [];
    byMark.delete(mark);
    const known = key === null ? null : byKey.get(key);
    const isAsTold = taskId === null ? lost > 0 && found.length <= 1 : found.join() === taskId;
    if (!isAsTold) problems.push(`${mark} was told ${taskId} and is ${found.join(" and ")}`);
    if (known !== null && known?.join() !== taskId) {
      problems.push(`${mark} was told ${taskId}, and its key names ${known?.join(" and ")}`);
    }
  }
  for (const mark of byMark.keys()) problems.push(`a task of "${mark}" was never asked for`);
  return problems;
}

function describe(load: Load, lived: LivesReport): Record<string, number> {
  const { requests, lost, comeBack, replayed }: Counts = load.counts;
  const cancelled = load.orders.filter(({ cancels }) => cancels > 0).length;
  const acknowledged = load.orders.filter(({ taskId }) => taskId !== null).length;
  const slowest = (times: readonly number[]): number => Math.round(Math.max(0, ...times));
  return {
    kills: lived.kills,
    stops: lived.stops,
    orders: load.orders.length,
    acknowledged,
    cancelled,
    requests,
    lost,
    comeBack,
    replayed,
    readyMsMax: slowest(lived.readyMs),
    stopMsMax: slowest(lived.stopMs),
  };
}

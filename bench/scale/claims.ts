/** How fast waiting tasks are claimed, and whether the length of the queue matters. */
import { openDatabase } from "../../server/src/db/open.ts";
import type { Database } from "../../server/src/db/database.ts";
import { createIds } from "../../server/src/lib/ids.ts";
import { createLog } from "../../server/src/lib/log.ts";
import { systemRandom } from "../../server/src/lib/random.ts";
import { systemClock } from "../../server/src/lib/time.ts";
import { claimTasks } from "../../server/src/tasks/claim.ts";
import { insertWorker } from "../../server/src/tasks/queue-store.ts";
import { copiedId, copyTask } from "./fill.ts";
import { body, readNumber, submit } from "./site.ts";
import type { Site } from "./site.ts";

export type ClaimOptions = {
  /** Tasks of the longer queue; the shorter one has a thousand. */
  waiting: number;
};

const lane = `live:${body.model}`;
/** What a worker claims at once, at most. */
const batch = 64;
const shortQueue = 1_000;
const latencyBatch = 8;
const latencyClaims = 1_000;
const rateTasks = 60_000;

/** Rows of a table: what, and what was measured. The database is left with a long queue. */
export async function benchClaims(site: Site, { waiting }: ClaimOptions): Promise<string[][]> {
  const api = await site.startNode("api");
  const model = await submit(site, api);
  await api.stop();
  const db = await openDatabase(
    { kind: "postgres", url: site.url },
    {
      clock: systemClock,
      random: systemRandom,
      log: createLog("error"),
      onFatal: (error) => {
        throw error;
      },
    },
  );
  try {
    const total = Math.max(waiting, rateTasks) + latencyClaims * latencyBatch;
    await copyTask(site.client, model, { count: total });
    await site.client.query("delete from queue where task_id = $1", [model]);
    const short = await measureLatency(site, db, shortQueue);
    const long = await measureLatency(site, db, waiting);
    const rates = [];
    for (const workers of [1, 4]) rates.push(await measureRate(site, db, workers));
    const [alone = 0, four = 0] = rates;
    return [
      [`claims/s, one worker, ${batch} at a time`, alone.toFixed(0), ""],
      [`claims/s, four workers, ${batch} at a time`, four.toFixed(0), "5000"],
      [`claim p50 / p99, ${shortQueue} waiting`, describe(short), ""],
      [`claim p50 / p99, ${waiting} waiting`, describe(long), ""],
      ["ratio of the p99", (percentile(long, 0.99) / percentile(short, 0.99)).toFixed(2), "2"],
    ];
  } finally {
    await db.close();
  }
}

/** Milliseconds of each claim while as many tasks are put at the end of the queue as are taken from its front. */
async function measureLatency(site: Site, db: Database, waiting: number): Promise<number[]> {
  await setQueue(site, waiting);
  const workerId = await enlist(db);
  const times: number[] = [];
  for (let claim = 0; claim < latencyClaims; claim += 1) {
    const begun = performance.now();
    const claimed = await claimTasks(db, { lane, workerId, limit: latencyBatch });
    times.push(performance.now() - begun);
    if (claimed.length !== latencyBatch) throw new Error(`claimed ${claimed.length}`);
    await site.client.query("delete from queue where worker_id = $1", [workerId]);
    await putInQueue(site, waiting + claim * latencyBatch, latencyBatch);
  }
  // The first ones open connections and make plans.
  return times.slice(50).toSorted((a, b) => a - b);
}

async function measureRate(site: Site, db: Database, workers: number): Promise<number> {
  await setQueue(site, rateTasks);
  const ids = await Promise.all(Array.from({ length: workers }, () => enlist(db)));
  let claimed = 0;
  const begun = performance.now();
  await Promise.all(
    ids.map(async (workerId) => {
      for (;;) {
        const tasks = await claimTasks(db, { lane, workerId, limit: batch });
        if (tasks.length === 0) return;
        claimed += tasks.length;
      }
    }),
  );
  const perSecond = (1_000 * claimed) / (performance.now() - begun);
  const left = await readNumber(site, "select count(*) as value from queue where state = 'ready'");
  if (claimed !== rateTasks || left !== 0) throw new Error(`${claimed} claimed, ${left} left`);
  return perSecond;
}

async function enlist(db: Database): Promise<string> {
  const id = createIds(systemClock, systemRandom)("worker");
  await db.transaction((tx) => insertWorker(tx, { id, beats: 0, started_at: systemClock.now() }));
  return id;
}

async function setQueue(site: Site, waiting: number): Promise<void> {
  await site.client.query("truncate queue");
  await putInQueue(site, 0, waiting);
  await site.client.query("vacuum analyze queue");
}

async function putInQueue({ client }: Site, from: number, count: number): Promise<void> {
  await client.query(
    `insert into queue (account_id, task_id, lane, tag, state, run_at, worker_id, claims)
     select account_id, ${copiedId("n")}, $1, n, 'ready', 0, null, 0
     from generate_series($2::int, $3::int) n, (select id as account_id from accounts limit 1) a`,
    [lane, from, from + count - 1],
  );
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function describe(sorted: readonly number[]): string {
  return `${percentile(sorted, 0.5).toFixed(2)} / ${percentile(sorted, 0.99).toFixed(2)} ms`;
}

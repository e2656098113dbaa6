/** The numbers of `/metrics`: those of this process, and those of the whole installation. */
import type { FastifyInstance } from "fastify";

import type { VerdictCount } from "../channels/verdict-counts.ts";
import type { Metric, MetricsDeps } from "../http/metrics.ts";
import type { Installation } from "../installation.ts";
import { watchEventLoopDelay } from "../lib/event-loop-delay.ts";
import type { EventLoopDelay } from "../lib/event-loop-delay.ts";
import { secondMs } from "../lib/time.ts";
import { countLanes, findWaitingSince } from "../tasks/backlog-store.ts";
import type { LaneCount } from "../tasks/backlog-store.ts";
import { countDeliveries } from "../webhooks/delivery-store.ts";

const delayPercentile = 99;

export type WorkParts = {
  tasksInHand(): number;
  readVerdicts(): VerdictCount[];
  spooledBytes(): number;
};

/** Measures for as long as the server runs. */
export function composeMetrics(
  http: FastifyInstance,
  { clock, config, db, log, version }: Installation,
  work: WorkParts,
): MetricsDeps {
  const startedAt = clock.now();
  let delay: EventLoopDelay | null = null;
  http.addHook("onReady", (done) => {
    delay = watchEventLoopDelay();
    done();
  });
  http.addHook("onClose", async () => delay?.stop());
  return {
    metricsToken: config.http.metricsToken,
    readMetrics: async () => {
      const delayMs = delay?.read(delayPercentile) ?? 0;
      const own = [...describeProcess({ version, startedAt, delayMs }), ...describeWork(work)];
      try {
        return [...own, reachable(1), ...(await describeInstallation(db, clock.now()))];
      } catch (error) {
        log.warn({ err: error }, "the numbers of the database could not be read");
        return [...own, reachable(0)];
      }
    },
  };
}

type ProcessFacts = { version: string; startedAt: number; delayMs: number };

function describeProcess({ version, startedAt, delayMs }: ProcessFacts): Metric[] {
  const { user, system } = process.cpuUsage();
  return [
    {
      name: "darkroom_info",
      help: "Version of the server.",
      type: "gauge",
      samples: [{ labels: { version }, value: 1 }],
    },
    gauge("process_start_time_seconds", "When the process began.", startedAt / secondMs),
    gauge("process_resident_memory_bytes", "Memory of the process.", process.memoryUsage.rss()),
    {
      name: "process_cpu_seconds_total",
      help: "CPU time of the process, without its picture processes.",
      type: "counter",
      samples: [{ value: (user + system) / 1e6 }],
    },
    gauge(
      "darkroom_event_loop_delay_seconds",
      "99th percentile since the last time it was asked for.",
      delayMs / secondMs,
    ),
  ];
}

function describeWork({ tasksInHand, readVerdicts, spooledBytes }: WorkParts): Metric[] {
  return [
    gauge("darkroom_tasks_in_hand", "Tasks that this process works on.", tasksInHand()),
    gauge(
      "darkroom_spool_bytes",
      "Finished pictures of this process that wait for the storage to take them.",
      spooledBytes(),
    ),
    {
      name: "darkroom_attempts_total",
      help: "Attempts of this process: the upstream answered (refusals too), failed, or was not asked.",
      type: "counter",
      samples: readVerdicts().map(({ channel, verdict, attempts }) => ({
        labels: { channel, outcome: verdict },
        value: attempts,
      })),
    },
  ];
}

function reachable(value: 0 | 1): Metric {
  return gauge("darkroom_database_up", "Whether the database answered just now.", value);
}

async function describeInstallation(db: Installation["db"], now: number): Promise<Metric[]> {
  const lanes = await countLanes(db.read);
  const deliveries = await countDeliveries(db.read, now);
  const oldest: Metric["samples"][number][] = [];
  for (const { lane, state, tasks } of lanes) {
    if (state !== "ready" || tasks === 0) continue;
    const since = await findWaitingSince(db.read, lane);
    if (since === null) continue;
    oldest.push({ labels: { lane }, value: Math.max(0, now - since) / secondMs });
  }
  return [
    {
      name: "darkroom_tasks",
      help: "Open tasks of the installation by lane and state, counted up to 10000.",
      type: "gauge",
      samples: lanes.map(({ lane, state, tasks }) => ({
        labels: { lane, state: stateNames[state] },
        value: tasks,
      })),
    },
    {
      name: "darkroom_oldest_waiting_seconds",
      help: "Age of the oldest task of a lane that waits for a worker or a place.",
      type: "gauge",
      samples: oldest,
    },
    {
      name: "darkroom_deliveries",
      help: "Webhook deliveries of the installation that are not done, counted up to 10000.",
      type: "gauge",
      samples: [
        { labels: { state: "due" }, value: deliveries.due },
        { labels: { state: "later" }, value: deliveries.waiting - deliveries.due },
      ],
    },
  ];
}

const stateNames: Record<LaneCount["state"], string> = {
  ready: "waiting",
  parked: "parked",
  claimed: "in_flight",
};

function gauge(name: string, help: string, value: number): Metric {
  return { name, help, type: "gauge", samples: [{ value }] };
}

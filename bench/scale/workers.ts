/** How much sooner two workers are done than one, when a vendor takes its time. */
import { readNumber, submitMany } from "./site.ts";
import type { Site } from "./site.ts";

const attemptsAWorker = 50;
const tasks = 400;

/** Seconds from the start of the last worker until nothing is queued, with one worker and with two. */
export async function benchWorkers(site: Site): Promise<{ rows: string[][]; ratio: number }> {
  const api = await site.startNode("api");
  const seconds: number[] = [];
  try {
    for (const count of [1, 2]) {
      await submitMany(site, api, { count: tasks, connections: 16 });
      const settings = { DARKROOM_WORKER_TASKS: String(attemptsAWorker) };
      const workers = await Promise.all(
        Array.from({ length: count }, () => site.startNode("worker", settings)),
      );
      const begun = performance.now();
      while ((await readNumber(site, "select count(*) as value from queue")) > 0) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      seconds.push((performance.now() - begun) / 1_000);
      await Promise.all(workers.map((worker) => worker.stop()));
    }
  } finally {
    await api.stop();
  }
  const [one = Number.NaN, two = Number.NaN] = seconds;
  return {
    rows: [
      [`${tasks} tasks, one worker`, `${one.toFixed(1)} s`, ""],
      [`${tasks} tasks, two workers`, `${two.toFixed(1)} s`, ""],
      ["ratio", (one / two).toFixed(2), "1.8"],
    ],
    ratio: one / two,
  };
}

/** What a process and all below it have used, from Linux's own books. */
import { readFile, readdir } from "node:fs/promises";

export type TreeUse = {
  /** User and system time, of ended children too. */
  cpuMs: number;
  /** Resident memory; what processes share counts in each. */
  rssMb: number;
};

/** Linux shows times to programs in hundredths of a second, whatever it keeps itself. */
const tickMs = 10;

export async function readTree(pid: number): Promise<TreeUse> {
  const [own, ...below] = await Promise.all([
    readOne(pid),
    ...(await listChildren(pid)).map(readTree),
  ]);
  return below.reduce(
    (sum, use) => ({ cpuMs: sum.cpuMs + use.cpuMs, rssMb: sum.rssMb + use.rssMb }),
    own ?? { cpuMs: 0, rssMb: 0 },
  );
}

async function readOne(pid: number): Promise<TreeUse> {
  const [stat, status] = await Promise.all([
    readOrEmpty(`/proc/${pid}/stat`),
    readOrEmpty(`/proc/${pid}/status`),
  ]);
  // The name, in brackets, may hold anything; utime, stime, cutime and cstime are fields 14 to 17.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  const rssKb = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0);
  return { cpuMs: ticks * tickMs, rssMb: rssKb / 1_024 };
}

async function listChildren(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = await Promise.all(
    threads.map((thread) => readOrEmpty(`/proc/${pid}/task/${thread}/children`)),
  );
  return lists.flatMap((list) => list.split(" ").filter(Boolean).map(Number));
}

/** Empty for a process that has ended. */
function readOrEmpty(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}

export type MemoryWatch = { stop(): Promise<{ peakMb: number }> };

/** Looks again and again until it is stopped. */
export function watchMemory(pid: number, everyMs: number): MemoryWatch {
  const stopping = new AbortController();
  const watching = (async () => {
    let peakMb = 0;
    while (!stopping.signal.aborted) {
      peakMb = Math.max(peakMb, (await readTree(pid)).rssMb);
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
    return { peakMb };
  })();
  return {
    stop: () => {
      stopping.abort();
      return watching;
    },
  };
}

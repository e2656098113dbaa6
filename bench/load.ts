import autocannon from "autocannon";

export type Load = { perSecond: number; p50: number; p99: number; failed: number };

export type LoadOptions = {
  url: string;
  method?: "GET" | "POST";
  headers: Record<string, string>;
  body?: string;
  /** What each connection asks for, in turn. */
  requests: { path: string }[];
  connections: number;
  seconds: number;
};

/** Loads one server from a thread of its own; latencies in milliseconds. */
export async function load(options: LoadOptions): Promise<Load> {
  const { url, method = "GET", headers, body, requests, connections, seconds } = options;
  const result = await autocannon({
    url,
    requests: requests.map(({ path }) => ({ method, path, headers, ...(body && { body }) })),
    connections,
    duration: seconds,
    workers: 1,
  });
  return {
    perSecond: result.requests.average,
    p50: result.latency.p50,
    p99: result.latency.p99,
    failed: result.non2xx + result.errors,
  };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

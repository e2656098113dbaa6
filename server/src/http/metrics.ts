/** `GET /metrics`: what an operator watches, in the text format of Prometheus. */
import { timingSafeEqual } from "node:crypto";

import type { FastifyInstance, FastifyRequest } from "fastify";

import { AppError } from "../lib/errors.ts";
import type { Hidden } from "../lib/secrets.ts";

export type Metric = {
  name: string;
  help: string;
  type: "gauge" | "counter";
  samples: readonly { labels?: Readonly<Record<string, string>>; value: number }[];
};

export type MetricsDeps = {
  readMetrics(): Promise<readonly Metric[]>;
  /** Without one, only this machine may ask. */
  metricsToken: Hidden | null;
};

/** As the socket names its peer: a server that listens on `::` sees IPv4 mapped. */
const loopback = /^(::1|(::ffff:)?127\.\d+\.\d+\.\d+)$/;
const mediaType = "text/plain; version=0.0.4; charset=utf-8";

export function registerMetrics(app: FastifyInstance, deps: MetricsDeps): void {
  app.get("/metrics", async (request, reply) => {
    assertAllowed(deps.metricsToken, request);
    const text = renderMetrics(await deps.readMetrics());
    return reply.header("content-type", mediaType).send(text);
  });
}

export function renderMetrics(metrics: readonly Metric[]): string {
  return metrics
    .flatMap(({ name, help, type, samples }) => [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} ${type}`,
      ...samples.map(({ labels = {}, value }) => `${name}${renderLabels(labels)} ${value}`),
    ])
    .map((line) => `${line}\n`)
    .join("");
}

function renderLabels(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function assertAllowed(token: Hidden | null, { headers, ip }: FastifyRequest): void {
  if (token !== null) {
    if (isSame(headers.authorization ?? "", `Bearer ${token.reveal()}`)) return;
    throw new AppError(
      "invalid_api_key",
      'header Authorization must be "Bearer" and the value of DARKROOM_METRICS_TOKEN',
      { param: "Authorization" },
    );
  }
  // A proxy of this machine speaks for others.
  const isForwarded = ["forwarded", "x-forwarded-for", "x-real-ip", "via"].some(
    (name) => headers[name] !== undefined,
  );
  if (loopback.test(ip) && !isForwarded) return;
  throw new AppError(
    "ip_not_allowed",
    "the numbers are for this machine alone; set DARKROOM_METRICS_TOKEN and send it as a Bearer token to read them from elsewhere",
  );
}

function isSame(given: string, wanted: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(wanted)];
  return a.length === b.length && timingSafeEqual(a, b);
}

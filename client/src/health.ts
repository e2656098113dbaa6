/** The wire types of `GET /healthz` and `GET /readyz`. */

export type HealthReply = { status: "ok" };

export type ReadinessReply = {
  status: "ready" | "unavailable";
  checks: { [name: string]: "ok" | "failed" };
};

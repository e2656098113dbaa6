/** The wire types of `GET /healthz` and `GET /readyz`. */

export type HealthReply = { status: "ok" };

/** Of the checks `database` and `accepting` decide the status; `storage` is told beside them. */
export type ReadinessReply = {
  status: "ready" | "unavailable";
  checks: { [name: string]: "ok" | "failed" };
};

/** The suite of `api/idempotency.test.ts`, with every gateway on PostgreSQL. */
import { runOnPostgres } from "./run-on-postgres.ts";

await runOnPostgres(() => import("../api/idempotency.test.ts"));

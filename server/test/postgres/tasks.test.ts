/** The suite of `api/tasks.test.ts`, with every gateway on PostgreSQL. */
import { runOnPostgres } from "./run-on-postgres.ts";

await runOnPostgres(() => import("../api/tasks.test.ts"));

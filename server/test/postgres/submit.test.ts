/** The suite of `api/submit.test.ts`, with every gateway on PostgreSQL. */
import { runOnPostgres } from "./run-on-postgres.ts";

await runOnPostgres(() => import("../api/submit.test.ts"));

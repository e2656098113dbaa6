/** The suite of `api/keys.test.ts`, with every gateway on PostgreSQL. */
import { runOnPostgres } from "./run-on-postgres.ts";

await runOnPostgres(() => import("../api/keys.test.ts"));

/** The suite of `api/serve.test.ts`, with every gateway on PostgreSQL. */
import { runOnPostgres } from "./run-on-postgres.ts";

await runOnPostgres(() => import("../api/serve.test.ts"));

import { describe } from "node:test";

import { removeDatabases, usePostgres } from "../support/api-database.ts";
import { findMissing } from "../support/postgres-server.ts";

/** Declares the tests of a suite on PostgreSQL; where none can be started they are skipped, and that is said. */
export async function runOnPostgres(load: () => Promise<unknown>): Promise<void> {
  const missing = findMissing();
  if (missing !== null) {
    process.stderr.write(`\nWARNING: tests on PostgreSQL are skipped: ${missing}\n\n`);
    describe("on postgres", { skip: missing }, () => {});
    return;
  }
  usePostgres();
  await load();
  removeDatabases();
}

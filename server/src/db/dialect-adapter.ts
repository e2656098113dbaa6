import type { DialectAdapter } from "kysely";

/**
 * What SQLite and PostgreSQL can both do. Migrations run in one transaction that holds the write lock on SQLite,
 * and take a lock of their own in `runMigration` on PostgreSQL, which must not outlive a transaction that failed.
 */
export const dialectAdapter: DialectAdapter = {
  supportsCreateIfNotExists: true,
  supportsMultipleConnections: true,
  supportsTransactionalDdl: true,
  supportsReturning: true,
  supportsOutput: false,
  acquireMigrationLock: () => Promise.resolve(),
  releaseMigrationLock: () => Promise.resolve(),
};

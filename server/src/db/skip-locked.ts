import type { SelectQueryBuilder } from "kysely";

import type { Handle } from "./database.ts";
import { isSqlite } from "./sqlite-driver.ts";

/**
 * Locks the rows that `query` selects, and passes over those that another transaction has locked, so that
 * several workers take from one queue without waiting for each other. On SQLite there is one writer, and
 * the query stays as it is.
 */
export function skipLocked<DB, Table extends keyof DB, Output>(
  handle: Handle,
  query: SelectQueryBuilder<DB, Table, Output>,
): SelectQueryBuilder<DB, Table, Output> {
  if (isSqlite(handle.getExecutor().adapter)) return query;
  return query.forUpdate().skipLocked();
}

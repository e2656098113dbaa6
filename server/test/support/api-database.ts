/**
 * Which database the gateways of a test file run on. SQLite, unless the file says `usePostgres()` before
 * anything else and `removeDatabases()` after it; then each data folder has a PostgreSQL database of its own, removed at the end.
 */
import { after } from "node:test";

import { systemRandom } from "../../src/lib/random.ts";
import { runStatement, startPostgres, withDatabase } from "./postgres-server.ts";
import type { PostgresForTests } from "./postgres-server.ts";

type Settings = Readonly<Record<string, string>>;

let server: Promise<PostgresForTests> | null = null;
const urls = new Map<string, Promise<string>>();

/** Makes every gateway of this file run on PostgreSQL. */
export function usePostgres(): void {
  server ??= startPostgres();
}

/**
 * Removes the databases when the tests are over. To be called after the file has declared its own clean-up,
 * because what is declared first runs first.
 */
export function removeDatabases(): void {
  after(async () => {
    const running = await server;
    for (const url of await Promise.all(urls.values())) {
      const name = new URL(url).pathname.slice(1);
      if (running !== null) await runStatement(running.url, `drop database ${name} with (force)`);
    }
    await running?.stop();
  });
}

/** Settings of a gateway with this data folder. */
export async function databaseSettings(folder: string): Promise<Settings> {
  return server === null ? {} : { DARKROOM_DATABASE_URL: await databaseUrl(folder) };
}

/** The address of the database that belongs to a folder, made with all its tables at the first call. */
export function databaseUrl(folder: string): Promise<string> {
  const url = urls.get(folder) ?? createDatabase();
  urls.set(folder, url);
  return url;
}

async function createDatabase(): Promise<string> {
  const running = await server;
  if (running === null) throw new Error("usePostgres() was not called");
  const name = `darkroom_api_${systemRandom.bytes(6).toString("hex")}`;
  const { url, template } = running;
  await runStatement(url, `create database ${name} template ${template} strategy wal_log`);
  return withDatabase(url, name);
}

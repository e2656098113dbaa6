/** Opening a PostgreSQL database whose server, or another node, is in the way. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { pino } from "pino";

import { until } from "../../test/support/client.ts";
import { onPostgres } from "../../test/support/databases.ts";
import { runStatement } from "../../test/support/postgres-server.ts";
import { AppError } from "../lib/errors.ts";
import { systemRandom } from "../lib/random.ts";
import { systemClock } from "../lib/time.ts";
import { openDatabase } from "./open.ts";
import { openPostgres } from "./postgres.ts";
import type { PostgresOptions } from "./postgres.ts";

onPostgres((_name, _setup, createTarget) => {
  async function createUrl(): Promise<string> {
    const target = await createTarget();
    return target.kind === "postgres" ? target.url : assert.fail("not on PostgreSQL");
  }

  test("a server that is too old is refused in words", async () => {
    const url = await createUrl();
    await runStatement(url, pretendVersion(url, 130_021));
    await assert.rejects(open({ url }), (error) => {
      assert.ok(error instanceof AppError);
      assert.equal(error.message, "the database is PostgreSQL 13; Darkroom needs 14 or newer");
      return true;
    });
  });

  test("a node that waits for another one's migration says so once, and starts when it has ended", async () => {
    const url = await createUrl();
    const other = await holdMigration(url);
    const lines: string[] = [];
    const opening = open({ url }, lines);
    await until(
      () => Promise.resolve(lines.length),
      (count) => count > 0,
    );
    await other.end();
    await (await opening).close();
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", /waiting for another node that migrates/);
  });

  test("a migration of another node that does not end is given up in words", async () => {
    const url = await createUrl();
    const other = await holdMigration(url);
    await assert.rejects(open({ url, migrationWaitMs: 50 }), (error) => {
      assert.ok(error instanceof AppError);
      assert.match(error.message, /another node has been migrating the database for 0\.05 s/);
      return true;
    });
    await other.end();
  });
});

/** Statements after which new sessions on a database are told another version. */
function pretendVersion(url: string, version: number): string {
  return `create schema pretended;
    create function pretended.current_setting(text) returns text language sql return '${version}';
    alter database ${new URL(url).pathname.slice(1)} set search_path = pretended, pg_catalog, public`;
}

/** A node in the middle of a migration. */
async function holdMigration(url: string): Promise<{ end(): Promise<void> }> {
  const { database, migrate } = openPostgres({ url }, createDeps([]));
  const isHeld = Promise.withResolvers<void>();
  const mayEnd = Promise.withResolvers<void>();
  const migrating = migrate(() => {
    isHeld.resolve();
    return mayEnd.promise;
  });
  await isHeld.promise;
  return {
    end: async () => {
      mayEnd.resolve();
      await migrating;
      await database.close();
    },
  };
}

function open(options: PostgresOptions, lines: string[] = []) {
  return openDatabase({ kind: "postgres", ...options }, createDeps(lines));
}

/** What is logged goes to `lines`. */
function createDeps(lines: string[]) {
  const log = pino({ level: "info" }, { write: (line: string) => void lines.push(line) });
  return { clock: systemClock, random: systemRandom, log, onFatal: assert.fail };
}

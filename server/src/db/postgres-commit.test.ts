/** Which sessions are ended when the fate of a transaction is asked for: its own, and no other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { Client, Pool } from "pg";

import { onPostgres } from "../../test/support/databases.ts";
import { systemRandom } from "../lib/random.ts";
import { systemClock } from "../lib/time.ts";
import { CommitLost, findCommit } from "./postgres-commit.ts";
import type { TransactionMark } from "./postgres-commit.ts";

onPostgres((_name, setup) => {
  async function setupServer(t: TestContext) {
    const { target } = await setup();
    const url = target.kind === "postgres" ? target.url : assert.fail("not on PostgreSQL");
    const pool = new Pool({ connectionString: url });
    // The clean-up of the database ends sessions that idle.
    pool.on("error", () => undefined);
    t.after(() => pool.end());
    const connect = async (): Promise<Client> => {
      const client = new Client({ connectionString: url });
      client.on("error", () => undefined);
      await client.connect();
      t.after(() => client.end());
      return client;
    };
    return { pool, connect };
  }

  test("the session of a transaction that is still under way is ended", async (t) => {
    const { pool, connect } = await setupServer(t);
    const session = await connect();
    const mark = await beginMarked(session);
    const deps = { clock: systemClock, random: systemRandom };
    assert.equal(await findCommit(deps, pool, new CommitLost(mark, null)), false);
    await assert.rejects(session.query("select 1"));
  });

  test("a session that began after the transaction is not ended, though it has the number", async (t) => {
    const { pool, connect } = await setupServer(t);
    const session = await connect();
    const { xid, begunAt } = await beginMarked(session);
    const stranger = await connect();
    const mark = { xid, begunAt, pid: (await readMark(stranger)).pid };
    let asked = 0;
    const sleep = async (): Promise<void> => {
      asked += 1;
      await session.query("rollback");
    };
    const deps = { clock: { ...systemClock, sleep }, random: systemRandom };
    assert.equal(await findCommit(deps, pool, new CommitLost(mark, null)), false);
    assert.equal(asked, 1);
    assert.equal((await stranger.query("select 1")).rowCount, 1);
  });
});

async function beginMarked(client: Client): Promise<TransactionMark> {
  await client.query("begin");
  return readMark(client);
}

async function readMark(client: Client): Promise<TransactionMark> {
  const { rows } = await client.query<TransactionMark>(
    `select pg_current_xact_id()::text as xid, pg_backend_pid() as pid,
      ceil(extract(epoch from clock_timestamp()) * 1000)::float8 as "begunAt"`,
  );
  return rows[0] ?? assert.fail("no row");
}

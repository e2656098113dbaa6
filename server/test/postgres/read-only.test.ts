/** A PostgreSQL that takes no writes, as after a failover to a standby: it counts as away, until it takes them again. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { startGateway } from "../support/app.ts";
import { refusalOf, until } from "../support/client.ts";
import { onPostgres } from "../support/databases.ts";
import { runStatement } from "../support/postgres-server.ts";

const body = { model: "gemini-3.1-flash-image-preview", resolution: "0.5K", prompt: "A red fox" };

onPostgres((_name, _setup, createTarget) => {
  test("while the database only reads submits are 503 and the node is not ready; then it recovers by itself", async (t) => {
    const target = await createTarget();
    const url = target.kind === "postgres" ? target.url : assert.fail("not on PostgreSQL");
    const settings = { DARKROOM_DATABASE_URL: url, DARKROOM_LOG_LEVEL: "silent" };
    const gateway = await startGateway(settings);
    t.after(gateway.stop);
    const client = await gateway.connect();
    const readiness = () => client.get<{ checks: Record<string, string> }>("/readyz");
    assert.equal((await client.submit(body)).status, 200);
    assert.equal((await readiness()).status, 200);

    await setReadOnly(url, "on");
    // A read may still be given a connection of before.
    const away = await until(readiness, ({ status }) => status === 503);
    assert.deepEqual(away.body.checks, { database: "failed", storage: "ok", accepting: "ok" });
    const refused = await client.submit(body);
    assert.deepEqual([refused.status, refusalOf(refused).reason], [503, "unavailable"]);
    assert.ok(Number(refused.headers.get("retry-after")) > 0);

    await setReadOnly(url, "off");
    await until(readiness, ({ status }) => status === 200);
    assert.equal((await client.submit(body)).status, 200);
  });
});

/** For sessions that begin from now on; with "on" those that were there are ended, as by a failover. */
async function setReadOnly(url: string, state: "on" | "off"): Promise<void> {
  const name = new URL(url).pathname.slice(1);
  await runStatement(
    url,
    `begin read write; alter database ${name} set default_transaction_read_only = ${state}; commit`,
  );
  if (state === "off") return;
  await runStatement(
    url,
    `select pg_terminate_backend(pid) from pg_stat_activity
      where datname = '${name}' and pid <> pg_backend_pid()`,
  );
}

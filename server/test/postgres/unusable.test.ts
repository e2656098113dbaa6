/** Databases that cannot be used: the operator reads why on one line, and never the password. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { onPostgres, openTestDatabase } from "../support/databases.ts";
import type { CreateTarget } from "../support/databases.ts";
import { runCommand } from "../support/gateway-process.ts";
import { runStatement, withDatabase } from "../support/postgres-server.ts";

const password = "hunter2";

onPostgres((_name, _setup, createTarget) => {
  test("a server that lets nobody in is told in its own words", async (t) => {
    const url = await createUrl(createTarget);
    const wrongUser = new URL(url);
    wrongUser.username = "stranger";
    wrongUser.password = password;
    const refusing = await startRefusingServer(t);
    await assertTold(t, [
      [withDatabase(url, "nowhere"), /cannot be used: database "nowhere" does not exist/],
      [wrongUser.href, /cannot be used: role "stranger" does not exist/],
      [refusing, /cannot be used: password authentication failed for user "me"/],
      [`${refusing}?sslmode=verify-full`, /cannot be reached: The server does not support SSL/],
      [`postgres://me:${password}@nowhere.invalid/x`, /cannot be reached: .*nowhere\.invalid/],
    ]);
  });

  test("tables that the user may not read are told in the server's words", async (t) => {
    const url = await createUrl(createTarget);
    await (await openTestDatabase({ kind: "postgres", url })).close();
    await runStatement(url, `create role guest login password '${password}'`);
    t.after(() => runStatement(url, "drop role guest"));
    const guest = new URL(url);
    guest.username = "guest";
    await assertTold(t, [
      [guest.href, /cannot be used: permission denied for table kysely_migration/],
    ]);
  });

  test("a database that a newer version has made is told in one sentence", async (t) => {
    const url = await createUrl(createTarget);
    await (await openTestDatabase({ kind: "postgres", url })).close();
    await runStatement(
      url,
      "insert into kysely_migration values ('9999-future', '2099-01-01T00:00:00.000Z')",
    );
    await assertTold(t, [[url, /newer version of Darkroom.*9999-future/]]);
  });
});

async function createUrl(createTarget: CreateTarget): Promise<string> {
  const target = await createTarget();
  return target.kind === "postgres" ? target.url : assert.fail("not on PostgreSQL");
}

/** Every command that opens a database says the same of each. */
async function assertTold(
  t: TestContext,
  cases: readonly (readonly [url: string, told: RegExp])[],
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-unusable-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  for (const [url, told] of cases) {
    const settings = { DARKROOM_DATABASE_URL: url };
    const results = await Promise.all([
      runCommand(folder, ["serve"], settings),
      runCommand(folder, ["doctor"], settings),
      runCommand(folder, ["migrate-to", url]),
    ]);
    for (const { code, stdout, stderr } of results) {
      assert.deepEqual({ code, stdout }, { code: 1, stdout: "" }, stderr);
      assert.match(stderr, told);
      assert.match(stderr, /^[^\n]+\n$/);
      assert.ok(!stderr.includes(password));
    }
  }
}

const encryptionRequest = 80_877_103;

/** Speaks as a server without TLS that refuses every password; its address. */
async function startRefusingServer(t: TestContext): Promise<string> {
  const fields = ["SFATAL", "VFATAL", "C28P01", 'Mpassword authentication failed for user "me"'];
  const text = Buffer.from(`${fields.join("\0")}\0\0`);
  const head = Buffer.from("E\0\0\0\0");
  head.writeInt32BE(text.length + 4, 1);
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      const wantsEncryption = data.length === 8 && data.readInt32BE(4) === encryptionRequest;
      if (wantsEncryption) socket.write("N");
      else socket.end(Buffer.concat([head, text]));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return `postgres://me:${password}@127.0.0.1:${(server.address() as AddressInfo).port}/x`;
}

/** `migrate-to` with real files, a real PostgreSQL and a real S3 server: nothing is lost, and nothing lives twice. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { sql } from "kysely";

import { tableNames } from "../../src/db/copy.ts";
import { createClient, download } from "../support/client.ts";
import type { Client } from "../support/client.ts";
import { onPostgres, openTestDatabase } from "../support/databases.ts";
import type { CreateTarget } from "../support/databases.ts";
import { runCommand, runJson, startServer } from "../support/gateway-process.ts";
import type { ServerProcess } from "../support/gateway-process.ts";
import { paintGrid } from "../support/pictures.ts";
import { startS3Server } from "../support/s3-server.ts";

const model = "gemini-2.5-flash-image-preview";

onPostgres((_name, _setup, createTarget) => {
  test("a moved installation is the same one: tasks, money, keys and pictures", async (t) => {
    const { folder, token, done, open } = await createInstallation(t);
    const url = await createUrl(createTarget);
    const s3 = await startS3Server(t);
    const storage = `s3://${s3.bucket}?endpoint=${s3.endpoint}`;
    const keys = { AWS_ACCESS_KEY_ID: "S3RVER", AWS_SECRET_ACCESS_KEY: "S3RVER" };
    const before = countRows(folder);
    assert.deepEqual(
      [...before].filter(([, count]) => count === 0).map(([table]) => table),
      [],
      "a table without rows proves nothing",
    );

    const moved = await runCommand(
      folder,
      ["migrate-to", url, "--storage", storage, "--json"],
      keys,
    );
    assert.equal(moved.code, 0, moved.stderr);
    const told = JSON.parse(moved.stdout) as {
      tables: Record<string, number>;
      ledger: { before: number; after: number; ok: boolean };
      objects: { copied: number; absent: number };
    };
    assert.equal(told.ledger.ok, true);
    assert.equal(told.ledger.before, told.ledger.after);
    assert.equal(told.objects.copied, (await s3.listKeys()).filter(isObject).length);
    assert.ok(told.objects.copied >= 3, "pictures and uploads");
    assert.match(moved.stderr, /^ledger: \d+ rows$/m);

    const settings = { DARKROOM_DATABASE_URL: url, DARKROOM_STORAGE: storage, ...keys };
    const after = await countCopied(url);
    // The old one's fingerprint is a setting that the copy has of its own.
    assert.deepEqual(after, before);
    const doctor = await runCommand(folder, ["doctor"], settings);
    assert.equal(doctor.code, 0, doctor.stdout);

    const server = await serve(t, folder, settings);
    const client = createClient(server.origin, token);
    const task = await client.read(done);
    assert.equal(task.status, "completed");
    const [picture] = task.result?.images ?? [];
    const link = picture?.url[0] ?? "";
    const file = await download(link.replace(/^https?:\/\/[^/]+/, server.origin));
    assert.equal(file.status, 200);
    assert.equal(file.bytes.length, picture?.bytes);
    assert.equal((await client.wait(open)).status, "completed", "it goes on where it was");
    assert.equal((await client.run({ model, prompt: "after the move" })).status, "completed");

    for (const args of commandsOnMoved(folder)) {
      const old = await runCommand(folder, args);
      assert.deepEqual([old.code, old.stdout], [1, ""], args.join(" "));
      assert.match(old.stderr, /^this installation has moved to postgres:.*DARKROOM_DATABASE_URL/);
    }
    const again = await runCommand(folder, ["migrate-to", url]);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /holds an installation already/);
  });

  test("a copy that was cut short is not served, and begins anew", async (t) => {
    const { folder } = await createInstallation(t);
    const url = await createUrl(createTarget);
    const s3 = await startS3Server(t);
    const args = ["migrate-to", url, "--storage", `s3://${s3.bucket}?endpoint=${s3.endpoint}`];
    const keys = { AWS_ACCESS_KEY_ID: "S3RVER", AWS_SECRET_ACCESS_KEY: "S3RVER" };
    s3.fault.choose = (request) =>
      request.startsWith("PUT") && !request.includes("darkroom-check")
        ? { kind: "refuse", status: 403, code: "AccessDenied" }
        : null;
    const cut = await runCommand(folder, args, keys);
    assert.equal(cut.code, 1);
    assert.match(cut.stderr, /^the object store failed: .*AccessDenied.*\n$/m);
    assert.doesNotMatch(cut.stderr, /internal error/);
    const half = await runCommand(folder, ["serve"], { DARKROOM_DATABASE_URL: url });
    assert.equal(half.code, 1);
    assert.match(half.stderr, /a copy that was not finished/);

    s3.fault.choose = () => null;
    // Cut short at its very end it has left this already, and only another run can finish it.
    withSqlite(folder, (database) =>
      database.exec("insert into settings (name, value) values ('moved_to', 'postgres://half')"),
    );
    const whole = await runCommand(folder, args, keys);
    assert.equal(whole.code, 0, whole.stderr);
    assert.deepEqual(await countCopied(url), countRows(folder));
  });

  test("a bucket that is not there is told before anything is copied", async (t) => {
    const folder = await createFolder(t);
    const url = await createUrl(createTarget);
    const { endpoint } = await startS3Server(t);
    const { code, stderr } = await runCommand(
      folder,
      ["migrate-to", url, "--storage", `s3://missing?endpoint=${endpoint}`],
      { AWS_ACCESS_KEY_ID: "S3RVER", AWS_SECRET_ACCESS_KEY: "S3RVER" },
    );
    assert.equal(code, 1);
    assert.match(stderr, /^nothing was copied: the bucket .*NoSuchBucket[^\n]*\n$/);
  });

  test("nothing is copied while a server runs on the folder", async (t) => {
    const folder = await createFolder(t);
    await serve(t, folder);
    const { code, stderr } = await runCommand(folder, [
      "migrate-to",
      await createUrl(createTarget),
    ]);
    assert.equal(code, 1);
    assert.match(stderr, /another server is running/);
  });
});

test("the copy knows every table that there is", async (t) => {
  const folder = await createFolder(t);
  await runJson(folder, ["accounts", "list"]);
  assert.deepEqual([...countRows(folder).keys()], tableNames.toSorted());
});

/** Of every kind: what they would read or write is no longer what is served. */
const commandsOnMoved = (folder: string): string[][] => [
  ["serve"],
  ["accounts", "credit", "default", "5", "--note", "late"],
  ["keys", "create", "--account", "default", "--name", "late"],
  ["channels", "list"],
  ["prices", "list"],
  ["doctor"],
  ["backup", `${folder}-backup`],
];

const isObject = (key: string): boolean => !key.includes("darkroom-check");

async function createFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-move-"));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

async function serve(
  t: TestContext,
  folder: string,
  settings: Record<string, string> = {},
): Promise<ServerProcess> {
  const server = await startServer(folder, { DARKROOM_DRAIN_SECONDS: "0", ...settings });
  t.after(async () => {
    server.kill("SIGKILL");
    await server.ended;
  });
  return server;
}

async function createUrl(createTarget: CreateTarget): Promise<string> {
  const target = await createTarget();
  assert.ok(target.kind === "postgres");
  return target.url;
}

/** A folder whose server has made pictures, has been stopped with work under way, and has rows in every table. */
async function createInstallation(t: TestContext) {
  const folder = await createFolder(t);
  const server = await serve(t, folder);
  const words = ["keys", "create", "--account", "default", "--mode", "test", "--name", "mover"];
  const { key: token } = await runJson<{ key: string }>(folder, words);
  const client = createClient(server.origin, token);
  const upload = await uploadPicture(client);
  const finished = await client.run({ model, prompt: "a lighthouse", n: 2, image_urls: [upload] });
  assert.equal(finished.status, "completed");
  await client.accept({ model, prompt: "once" }, { "idempotency-key": "move-1" });
  const { id: open } = await client.accept({ model, prompt: "[[slow:6s]] a slow lighthouse" });
  await client.wait(open, ({ status }) => status === "processing");
  server.kill("SIGKILL");
  await server.ended;
  fillTables(folder);
  return { folder, token, done: finished.id, open };
}

async function uploadPicture(client: Client): Promise<string> {
  const form = new FormData();
  form.set(
    "file",
    new Blob([new Uint8Array(await paintGrid(64, 64))], { type: "image/png" }),
    "a.png",
  );
  const reply = await client.request<{ url: string }>("POST", "/v1/uploads/images", { body: form });
  assert.equal(reply.status, 200, JSON.stringify(reply.body));
  return reply.body.url;
}

/** A row for each table that a stay in the sandbox leaves empty. */
const extraRows: Record<string, string> = {
  prices: "insert into prices values ('flux-2-pro', '*', 0, 1)",
  costs: "insert into costs values ('acc', 'att', 'task', 'c', 'm', 7, 'wasted', 1)",
  channel_load: "insert into channel_load values ('c', '*', 0)",
  channels: `insert into channels (name, provider, source, base_url, models_json, tiers_json, priority, weight,
    cost_ratio_ppm, caps_json, timeout_ms, unknown_outcome, allow_json, settings_json, disabled_at,
    disabled_reason, revision, created_at, updated_at)
    values ('c', 'bfl', 'operator', 'https://bfl.example', '[]', '[]', 0, 1, 1000000, '{}', 1000, 'fail', '[]',
    '{}', 1, 'a test', 1, 1, 1)`,
  webhook_endpoints: `insert into webhook_endpoints (account_id, id, mode, url, events, secret, failed_tries, created_at)
    values ('acc', 'whe', 'test', 'https://a.example/ü', 'task.failed', 's', 0, 1)`,
  webhook_secrets: `insert into webhook_secrets (account_id, mode, secret, created_at) values ('acc', 'test', 's', 1)`,
  events: `insert into events (account_id, id, mode, type, body, created_at, expanded_at)
    values ('acc', 'evt', 'test', 'test', '{"a":"☃"}', 1, 1)`,
  deliveries: `insert into deliveries (account_id, id, mode, event_id, type, url, origin, state, due_at, round, tries,
    created_at, expires_at, ended_at)
    values ('acc', 'dlv', 'test', 'evt', 'test', 'https://a.example', 'https://a.example', 'delivered', 1, 1, 1, 1, 2, 2)`,
  delivery_tries: `insert into delivery_tries (account_id, delivery_id, number, started_at, duration_ms)
    values ('acc', 'dlv', 1, 1, 1)`,
  nodes: "insert into nodes values ('node', 0, 1, 1)",
};

function fillTables(folder: string): void {
  const empty = [...countRows(folder)].filter(([, count]) => count === 0).map(([table]) => table);
  withSqlite(folder, (database) => {
    for (const table of empty) {
      const statement = extraRows[table];
      if (statement !== undefined) database.exec(statement);
    }
  });
}

function countRows(folder: string): Map<string, number> {
  return withSqlite(folder, (database) => {
    const tables = database
      .prepare(
        `select name from sqlite_master where type = 'table' and name not like 'kysely%'
         and name not like 'sqlite%' order by name`,
      )
      .all();
    return new Map(
      tables.map(({ name }) => {
        const isMark = name === "settings" ? " where name <> 'moved_to'" : "";
        const row = database
          .prepare(`select count(*) as rows from "${String(name)}"${isMark}`)
          .get();
        return [String(name), Number(row?.["rows"])];
      }),
    );
  });
}

function withSqlite<T>(folder: string, work: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(join(folder, "darkroom.db"), { timeout: 5_000 });
  try {
    return work(database);
  } finally {
    database.close();
  }
}

async function countCopied(url: string): Promise<Map<string, number>> {
  const db = await openTestDatabase({ kind: "postgres", url, connectionsMax: 2 });
  try {
    const counts = new Map<string, number>();
    for (const table of tableNames.toSorted()) {
      const query = sql<{ rows: number }>`select count(*) as rows from ${sql.table(table)}`;
      counts.set(table, (await query.execute(db.read)).rows[0]?.rows ?? 0);
    }
    return counts;
  } finally {
    await db.close();
  }
}

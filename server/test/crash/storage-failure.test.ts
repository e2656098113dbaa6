/** When the disk fails or is full the server stops rather than promise what it cannot keep. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, open, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { ReadinessReply } from "../../../client/src/health.ts";
import { createAccounts } from "../../src/accounts/accounts.ts";
import { createKeys } from "../../src/accounts/keys.ts";
import { createApp } from "../../src/app.ts";
import { openBooks } from "../../src/billing/ledger.ts";
import { parseConfig } from "../../src/config.ts";
import { openDatabase } from "../../src/db/open.ts";
import type { SyncDescriptor } from "../../src/db/wal-file.ts";
import { openInstallation } from "../../src/installation.ts";
import type { Installation } from "../../src/installation.ts";
import { testEnvironment } from "../support/app.ts";
import { createClient, until } from "../support/client.ts";
import type { Client } from "../support/client.ts";
import { collectPictures, colours, dataUri, paintPlain } from "../support/pictures.ts";
import { auditFolder, findTasksByMark } from "./audit.ts";
import { createTestKey, findFreePort, placeOf, startServer } from "./server-process.ts";
import type { ServerProcess } from "./server-process.ts";

const small = { model: "gemini-3.1-flash-image-preview", resolution: "0.5K", size: "8:1" };
/** Exit code for a failure of the database's storage. */
const storageFailed = 70;
const submitsMax = 5_000;
const isUnix = process.platform !== "win32";

test(
  "a database that may not grow ends the server, and every acknowledged task is done after the restart",
  { skip: isUnix ? false : "no shell that limits file sizes" },
  async (t) => {
    const site = await createSite(t, await makeFolder(t));
    // Blocks of 512 bytes or of a kilobyte, by shell: either is soon reached by the write-ahead log.
    const server = await site.start("ulimit -f 1200");
    const marks = await submitUntilLost(site.client);
    assert.equal((await server.ended).code, storageFailed, server.errors());
    assert.match(server.errors(), /the database's storage failed/);
    await assertNothingLost(site, marks);
  },
);

test("a full disk ends the server, and every acknowledged task is done once there is room", async (t) => {
  const folder = await makeFolder(t);
  if (!(await mountSmallDisk(folder))) return t.skip("no file system can be mounted here");
  const site = await createSite(t, folder);
  const server = await site.start();
  const done = await site.client.run({ ...small, prompt: "m0x" });
  const unfinished = await site.client.accept({ ...small, prompt: "m1x [[slow:5s]]", n: 4 });
  const filler = join(folder, "filler");
  await fillDisk(filler);

  const image = dataUri(
    await paintPlain({ colour: colours.green, width: 64, height: 64, format: "png" }),
  );
  // A heartbeat may have met the full disk already.
  const refusal = await site.client
    .submit({ ...small, prompt: "m2x", image_urls: [image] })
    .catch(() => null);
  assert.ok(refusal === null || refusal.status === 503, JSON.stringify(refusal?.body));
  const marks = await submitUntilLost(site.client, 3);
  assert.equal((await server.ended).code, storageFailed, server.errors());

  // While there is no room a start may succeed or fail, but it loses nothing.
  const hopeless = await site.start();
  hopeless.signal("SIGKILL");
  await hopeless.ended;

  await rm(filler);
  await assertNothingLost(site, new Map([...marks, ["m0x", done.id], ["m1x", unfinished.id]]));
});

test("while the picture store fails tasks wait, and they are delivered when it works again", async (t) => {
  const site = await createSite(t, await makeFolder(t));
  const server = await site.start();
  const temporary = join(site.data, "objects", "tmp");
  const first = await site.client.run({ ...small, prompt: "m0x" });
  assert.equal(first.status, "completed");
  await rm(temporary, { recursive: true });
  await writeFile(temporary, "a file where the store wants its folder");

  const { id } = await site.client.accept({ ...small, prompt: "m1x", n: 2 });
  await until(
    async () => server.errors(),
    (errors) => errors.includes("the storage failed; trying again"),
  );
  assert.equal((await site.client.read(id)).status, "processing");
  const ready = await site.client.get<ReadinessReply>("/readyz");
  assert.deepEqual([ready.status, ready.body.checks["storage"]], [200, "failed"]);
  await rm(temporary);
  const task = await site.client.wait(id);
  assert.equal((await collectPictures(task)).length, 2);
  assert.equal((await site.client.get<{ status: string }>("/healthz")).status, 200);
});

test("after a sync that failed nothing is acknowledged, and repeats after the restart make one task each", async (t) => {
  const folder = await makeFolder(t);
  const failures: Error[] = [];
  let isBroken = false;
  const installation = await openOn(folder, {
    onFatal: (error) => failures.push(error),
    syncDescriptor: async () => {
      if (isBroken) throw new Error("EIO: i/o error, fdatasync");
    },
  });
  const account = await installation.accounts.createAccount("default");
  const { token } = await installation.keys.createKey({
    accountId: account.id,
    mode: "test",
    name: "test",
  });
  const app = createApp(installation);
  const client = createClient(await app.start(), token);
  const kept = await client.run({ ...small, prompt: "m0x" });
  isBroken = true;
  const replies = await Promise.all(
    Array.from({ length: 20 }, (_, index) => sendWithKey(client, index)),
  );
  assert.deepEqual(new Set(replies.map(({ status }) => status)), new Set([500]));
  assert.equal(failures.length, 1);
  assert.match(failures[0]?.message ?? "", /EIO/);
  const still = await sendWithKey(client, 99);
  assert.equal(still.status, 500);
  isBroken = false;
  assert.equal((await sendWithKey(client, 98)).status, 500);
  await assert.rejects(app.stop(), /EIO/);

  const next = await openOn(folder, {});
  const again = createApp(next);
  const restarted = createClient(await again.start(), token);
  const repeated = await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      const reply = await sendWithKey(restarted, index);
      assert.equal(reply.status, 200);
      return reply.body.data[0].task_id;
    }),
  );
  for (const id of repeated) assert.equal((await restarted.wait(id)).status, "completed");
  // Links name the port, which is another one now.
  assert.equal((await restarted.read(kept.id)).completed, kept.completed);
  await again.stop();
  for (const [mark, ids] of findTasksByMark(folder, /m\d+x/)) assert.equal(ids.length, 1, mark);
});

function sendWithKey(client: Client, index: number) {
  const mark = `m${index + 100}x`;
  return client.submit({ ...small, prompt: mark }, { "idempotency-key": mark });
}

type Site = {
  root: string;
  data: string;
  client: Client;
  start(limit?: string): Promise<ServerProcess>;
};

async function makeFolder(t: TestContext): Promise<string> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "darkroom-disk-")));
  t.after(async () => {
    // A disk that was mounted here would keep its folder busy.
    await succeeds("umount", ["-l", root]);
    await rm(root, { recursive: true, force: true });
  });
  return root;
}

/** A data folder with a key, and a server on it for as often as a test starts one. */
async function createSite(t: TestContext, root: string): Promise<Site> {
  const data = join(root, "data");
  const port = await findFreePort();
  const token = await createTestKey(data, "first");
  const started: ServerProcess[] = [];
  t.after(async () => {
    for (const server of started) server.signal("SIGKILL");
    await Promise.all(started.map(({ ended }) => ended));
  });
  return {
    root,
    data,
    client: createClient(`http://127.0.0.1:${port}`, token),
    start: async (limit) => {
      const place = placeOf(root, started.length);
      const settings = { folder: data, port, place };
      const server = await startServer(limit === undefined ? settings : { ...settings, limit });
      started.push(server);
      await server.ready;
      return server;
    },
  };
}

/** The task's id, or null when the server is gone or refused. */
async function submit(client: Client, mark: string): Promise<string | null> {
  try {
    const reply = await client.submit({ ...small, prompt: `${mark} ${"far ".repeat(200)}` });
    return reply.status === 200 ? reply.body.data[0].task_id : null;
  } catch {
    return null;
  }
}

/** Submits until the server gives no more; the tasks that it has acknowledged, by their marks. */
async function submitUntilLost(client: Client, from = 0): Promise<Map<string, string>> {
  const acknowledged = new Map<string, string>();
  for (let index = from; index < from + submitsMax; index += 1) {
    const mark = `m${index}x`;
    const id = await submit(client, mark);
    if (id === null) return acknowledged;
    acknowledged.set(mark, id);
  }
  throw new Error(`the server accepted ${submitsMax} tasks`);
}

async function assertNothingLost(site: Site, marks: ReadonlyMap<string, string>): Promise<void> {
  assert.ok(marks.size > 0, "nothing was acknowledged");
  const server = await site.start();
  for (const [mark, id] of marks) {
    const task = await site.client.wait(id);
    assert.equal(task.status, "completed", `${mark}: ${JSON.stringify(task)}`);
  }
  server.signal("SIGTERM");
  assert.equal((await server.ended).code, 0);
  const found = findTasksByMark(site.data, /m\d+x/);
  for (const [mark, id] of marks) assert.deepEqual(found.get(mark), [id]);
  assert.deepEqual((await auditFolder(site.data)).problems, []);
}

/** A file system of 24 MB at `folder`; false where we may not mount one. */
async function mountSmallDisk(folder: string): Promise<boolean> {
  if (process.platform !== "linux") return false;
  return succeeds("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", folder]);
}

async function succeeds(file: string, args: readonly string[]): Promise<boolean> {
  const child = spawn(file, args, { stdio: "ignore" });
  const failed = once(child, "error").then(() => false);
  const closed = once(child, "close").then(([code]) => code === 0);
  return Promise.race([failed, closed]);
}

/** Writes until there is no room for another page. */
async function fillDisk(path: string): Promise<void> {
  const file = await open(path, "w");
  try {
    for (const bytes of [64 * 1_024, 4_096]) {
      const page = Buffer.alloc(bytes, 1);
      for (;;) {
        const isWritten = await file.write(page).then(
          ({ bytesWritten }) => bytesWritten === bytes,
          () => false,
        );
        if (!isWritten) break;
      }
    }
  } finally {
    await file.close();
  }
}

type Faults = { onFatal?: (error: Error) => void; syncDescriptor?: SyncDescriptor };

/** An installation whose database can be told to fail. */
async function openOn(folder: string, faults: Faults): Promise<Installation> {
  await mkdir(folder, { recursive: true });
  const config = parseConfig(testEnvironment(folder, { DARKROOM_LOG_LEVEL: "silent" }));
  const whole = await openInstallation(config);
  await whole.db.close();
  const { clock, random, ids, log, secrets } = whole;
  const { database } = config.data;
  assert.ok(database.kind === "sqlite");
  const db = await openDatabase(database, {
    clock,
    random,
    log,
    onFatal: () => assert.fail("the storage failed"),
    ...faults,
  });
  return {
    ...whole,
    db,
    engineDb: db,
    accounts: createAccounts({ db, clock, ids, openBooks }),
    keys: createKeys({ db, clock, random, ids, pepper: secrets.derive("api-keys") }),
    close: () => db.close(),
  };
}

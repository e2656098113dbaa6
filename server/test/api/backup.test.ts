/** The restore drill of docs/operating.md, step by step: what it says there is what happens here. */
import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { createClient, download } from "../support/client.ts";
import type { Client } from "../support/client.ts";
import { runCommand, runJson, startServer } from "../support/gateway-process.ts";

const model = "gemini-2.5-flash-image-preview";
const words = ["keys", "create", "--account", "default", "--mode", "test", "--name", "drill"];

type Backup = { folder: string; pictures: number; expired: number; database_bytes: number };

test("a backup taken beside a busy server lives again in an empty folder", async (t) => {
  const base = await createFolder(t);
  const [folder, copy, restored] = ["data", "backup", "restored"].map((name) => join(base, name));
  const server = await startServer(folder!);
  t.after(async () => {
    server.kill("SIGKILL");
    await server.ended;
  });
  const { key } = await runJson<{ key: string }>(folder!, words);
  const client = createClient(server.origin, key);
  const before = await client.run({ model, prompt: "before the backup", n: 2 });

  const load = keepBusy(client);
  const told = await runJson<Backup>(folder!, ["backup", copy!]);
  const accepted = await load.stop();
  for (const made of [folder!, copy!]) assert.deepEqual(await findOpenFiles(made), []);
  assert.ok(accepted.length > 0, "the server was busy meanwhile");
  assert.ok(told.pictures >= 2 && told.expired === 0);
  server.kill("SIGKILL");
  await server.ended;

  await mkdir(restored!, { mode: 0o700 });
  await cp(copy!, restored!, { recursive: true });
  const doctor = await runJson<{ ok: boolean; ledger: { ok: boolean; entries: number } }>(
    restored!,
    ["doctor"],
  );
  assert.deepEqual([doctor.ok, doctor.ledger.ok], [true, true]);
  assert.ok(doctor.ledger.entries > 0);

  const again = await startServer(restored!);
  t.after(async () => {
    again.kill("SIGKILL");
    await again.ended;
  });
  const other = createClient(again.origin, key);
  const after = await other.read(before.id);
  assert.equal(after.status, "completed");
  for (const image of after.result?.images ?? []) {
    const file = await download(image.url[0] ?? "");
    assert.deepEqual([file.status, file.bytes.length], [200, image.bytes]);
  }
  // What had been accepted by the moment of the backup comes to its end; the rest was never heard of.
  for (const id of accepted) {
    const { status } = await other.get(`/v1/tasks/${id}`);
    if (status === 404) continue;
    assert.equal((await other.wait(id)).status, "completed");
  }
  assert.equal((await other.run({ model, prompt: "after the restore" })).status, "completed");
});

test("a backup holds the secret as safely as the folder itself, and never replaces anything", async (t) => {
  const base = await createFolder(t);
  const [folder, copy] = [join(base, "data"), join(base, "backup")];
  await runJson(folder, ["accounts", "list"]);
  const made = await runJson<Backup>(folder, ["backup", copy, "--without-pictures"]);
  assert.equal(made.folder, copy);
  assert.deepEqual((await readdir(copy)).toSorted(), ["darkroom.db", "secret"]);
  assert.equal((await stat(copy)).mode & 0o777, 0o700);
  assert.equal((await stat(join(copy, "secret"))).mode & 0o777, 0o600);
  assert.equal(
    await readFile(join(copy, "secret"), "utf8"),
    await readFile(join(folder, "secret"), "utf8"),
  );
  assert.equal((await stat(join(copy, "darkroom.db"))).size, made.database_bytes);
  assert.deepEqual(await readdir(base), ["backup", "data"], "nothing unfinished is left");

  const { code, stderr } = await runCommand(folder, ["backup", copy]);
  assert.equal(code, 1);
  assert.match(stderr, /exists already/);
});

async function createFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-backup-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** What group or others may read, write or enter. */
async function findOpenFiles(folder: string): Promise<string[]> {
  if (process.platform === "win32") return [];
  const open: string[] = [];
  for (const name of [".", ...(await readdir(folder, { recursive: true }))]) {
    // A server beside it removes its temporary files.
    const found = await stat(join(folder, name)).catch(() => null);
    if (found !== null && (found.mode & 0o077) !== 0) open.push(name);
  }
  return open;
}

/** Submits one task after another until it is stopped; gives the ids of those that were accepted. */
function keepBusy(client: Client): { stop(): Promise<string[]> } {
  const accepted: string[] = [];
  const ending = new AbortController();
  const callers = Array.from({ length: 4 }, async () => {
    while (!ending.signal.aborted)
      accepted.push((await client.accept({ model, prompt: "busy" })).id);
  });
  return {
    stop: async () => {
      ending.abort();
      await Promise.all(callers);
      return accepted;
    },
  };
}

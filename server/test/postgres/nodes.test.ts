/** Several processes on one PostgreSQL database: they share work, outlive each other, and outlast the database. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";

import { Client as PostgresClient } from "pg";

import type { Task, TaskReply } from "../../../client/src/tasks.ts";
import { systemClock } from "../../src/lib/time.ts";
import { emulatedOpenAiKey, startOpenAiEmulator } from "../emulators/openai.ts";
import { databaseUrl, removeDatabases, usePostgres } from "../support/api-database.ts";
import type { Settings } from "../support/app.ts";
import { createClient, hasEnded, until } from "../support/client.ts";
import type { Client } from "../support/client.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { runJson, startServer } from "../support/gateway-process.ts";
import type { ServerProcess } from "../support/gateway-process.ts";
import { findMissing } from "../support/postgres-server.ts";

const body = {
  model: "gemini-3.1-flash-image-preview",
  resolution: "0.5K",
  size: "1:1",
  prompt: "A red fox",
};

const missing = findMissing();

describe("several nodes", { skip: missing ?? false }, () => {
  if (missing === null) usePostgres();

  test("a task that one node took is made by another, and read and waited for on a third", async (t) => {
    const cluster = await startCluster(t);
    const [first, second] = await Promise.all([cluster.start("api"), cluster.start("api")]);
    const token = await cluster.createKey();
    await cluster.start("worker");
    const { id } = await clientOf(first, token).accept({ ...body, prompt: "fox [[slow:1s]]" });
    const reader = clientOf(second, token);
    assert.equal((await reader.read(id)).status !== "failed", true);
    const reply = await reader.get<TaskReply>(`/v1/tasks/${id}?wait=30`);
    assert.equal(reply.body.data.status, "completed");
    await cluster.assertLedger();
  });

  test("a worker answers health checks and nothing else", async (t) => {
    const cluster = await startCluster(t);
    const worker = await cluster.start("worker");
    const client = createClient(worker.origin, null);
    const paths = ["/healthz", "/readyz", "/v1/models"];
    const replies = await Promise.all(paths.map((path) => client.get(path)));
    assert.deepEqual(
      replies.map(({ status }) => status),
      [200, 200, 404],
    );
  });

  test("nodes that do not know under which address callers reach them say so, and so does doctor", async (t) => {
    const cluster = await startCluster(t);
    const url = { DARKROOM_PUBLIC_URL: "https://pictures.example.com" };
    const nodes = [await cluster.start("api"), await cluster.start("worker")];
    for (const { stderr } of nodes) assert.match(stderr(), /links begin with.*DARKROOM_PUBLIC_URL/);
    const told = await cluster.start("worker", url);
    assert.doesNotMatch(told.stderr(), /DARKROOM_PUBLIC_URL/);
    for (const [settings, state] of [[{}, "warning"] as const, [url, "ok"] as const]) {
      const { checks } = await runJson<Report>(cluster.folder, ["doctor"], settings);
      assert.equal(checks.find(({ check }) => check === "address")?.state, state);
    }
  });

  test("the tasks of a worker that is killed are in the hands of another within 25 seconds, and completed", async (t) => {
    const cluster = await startCluster(t);
    const api = await cluster.start("api");
    const client = clientOf(api, await cluster.createKey());
    const killed = await cluster.start("worker");
    const ids: string[] = [];
    for (let i = 0; i < 5; i += 1) {
      ids.push((await client.accept({ ...body, prompt: `fox ${i} [[slow:8s]]` })).id);
    }
    for (const id of ids) await client.wait(id, ({ status }) => status === "processing");
    const before = new Set(await cluster.listHolders());
    const [dead] = before;
    assert.ok(before.size === 1 && typeof dead === "string", "one worker holds them all");
    await cluster.start("worker");
    killed.kill("SIGKILL");
    const killedAt = systemClock.monotonic();
    const held = await cluster.listHolders();
    assert.ok(held.includes(dead), "the worker died with tasks in its hands");
    // Another one has them in hand: that is the takeover; the sandbox's own seconds come after it.
    await until(
      cluster.listHolders,
      (holders) => !holders.includes(dead) && !holders.includes(null),
    );
    const takenOverMs = systemClock.monotonic() - killedAt;
    assert.ok(takenOverMs <= 25_000, `taken over after ${takenOverMs} ms`);
    const tasks: Task[] = [];
    for (const id of ids) tasks.push(await client.wait(id));
    assert.deepEqual(new Set(tasks.map(({ status }) => status)), new Set(["completed"]));
    await cluster.assertLedger();
  });

  test("a worker that stops in order gives its tasks back, and they end elsewhere at once", async (t) => {
    const cluster = await startCluster(t);
    const api = await cluster.start("api");
    const client = clientOf(api, await cluster.createKey());
    const leaving = await cluster.start("worker");
    const { id } = await client.accept({ ...body, prompt: "fox [[slow:2s]]" });
    await client.wait(id, ({ status }) => status === "processing");
    await cluster.start("worker");
    leaving.kill("SIGTERM");
    const begun = systemClock.monotonic();
    assert.equal(await leaving.ended, 0);
    assert.equal((await client.wait(id)).status, "completed");
    assert.ok(systemClock.monotonic() - begun < 15_000);
  });

  for (const role of ["worker", "all"] as const) {
    test(`a node that waits for a paid call before it ends says so until then: ${role}`, async (t) => {
      const vendor = await startOpenAiEmulator();
      t.after(() => vendor.stop());
      vendor.set({ reply: { kind: "slow", delayMs: 4_000 } });
      const settings = { OPENAI_API_KEY: emulatedOpenAiKey, OPENAI_BASE_URL: vendor.baseUrl };
      const cluster = await startCluster(t, settings);
      const leaving = await cluster.start(role);
      const api = role === "all" ? leaving : await cluster.start("api");
      const client = clientOf(api, await cluster.createKey("live"));
      const { id } = await client.accept({ model: "gpt-image-2.5-flare", prompt: "A red fox" });
      await until(
        async () => vendor.billed.length,
        (billed) => billed === 1,
      );
      leaving.kill("SIGTERM");
      let isOver = false;
      void leaving.ended.then(() => (isOver = true));
      const probe = createClient(leaving.origin, client.token);
      await until(
        () => probe.get("/readyz"),
        ({ status }) => status === 503,
      );
      for (let look = 0; look < 20; look += 1) {
        const paths = ["/healthz", "/readyz", "/metrics"];
        const replies = await Promise.all(paths.map((path) => fetch(`${leaving.origin}${path}`)));
        assert.deepEqual(
          replies.map(({ status }) => status),
          [200, 503, 200],
        );
        await Promise.all(replies.map((reply) => reply.arrayBuffer()));
        await systemClock.sleep(50);
      }
      if (role === "all") {
        const refused = await probe.refuse(body, { "idempotency-key": "late" });
        assert.deepEqual([refused.status, refused.reason], [503, "idempotency_unavailable"]);
      }
      assert.equal(isOver, false, "the call has ended before it was looked at");
      assert.equal(await leaving.ended, 0, leaving.stderr());
      const reader = role === "all" ? await cluster.start("api") : api;
      assert.equal((await clientOf(reader, client.token ?? "").wait(id)).status, "completed");
      assert.equal(vendor.billed.length, 1);
    });
  }

  test("a node of the API that stops answers a dialect's call once the task has ended", async (t) => {
    const cluster = await startCluster(t);
    const leaving = await cluster.start("api");
    await cluster.start("worker");
    const client = clientOf(leaving, await cluster.createKey());
    const prompt = "A red fox [[slow:12s]]";
    const path = "/openai/v1/images/generations";
    const asked = client.post<{ data: { b64_json: string }[] }>(path, {
      model: body.model,
      prompt,
    });
    await until(
      () => client.get<{ data: Task[] }>("/v1/tasks"),
      (reply) => reply.body.data.length === 1,
    );
    leaving.kill("SIGTERM");
    const reply = await asked;
    assert.equal(reply.status, 200, JSON.stringify(reply.body));
    assert.ok((reply.body.data[0]?.b64_json.length ?? 0) > 1_000);
    assert.equal(await leaving.ended, 0);
  });

  test("no request fails while the API's nodes are replaced one after the other", async (t) => {
    const cluster = await startCluster(t, { DARKROOM_DRAIN_SECONDS: "1" });
    const token = await cluster.createKey();
    await cluster.start("worker");
    const originals = [await cluster.start("api"), await cluster.start("api")];
    let nodes = originals;
    const over = new AbortController();
    const failures: unknown[] = [];
    let answered = 0;
    const load = async (): Promise<void> => {
      for (let turn = 0; !over.signal.aborted; turn += 1) {
        const ready = await findReady(nodes);
        const node = ready[turn % ready.length];
        if (node === undefined) continue;
        try {
          const { id } = await clientOf(node, token).accept(body);
          await clientOf(node, token).read(id);
          answered += 1;
        } catch (error) {
          failures.push(error);
        }
        await systemClock.sleep(5);
      }
    };
    const loads = [load(), load()];
    for (const old of originals) {
      nodes = [...nodes, await cluster.start("api")];
      old.kill("SIGTERM");
      assert.equal(await old.ended, 0);
      nodes = nodes.filter((node) => node !== old);
    }
    over.abort();
    await Promise.all(loads);
    assert.deepEqual(failures, []);
    assert.ok(answered > 10, `${answered} answered`);
  });

  test("without wake-ups the slow polls carry a task to its end", async (t) => {
    const cluster = await startCluster(t);
    const url = await databaseUrl(cluster.folder);
    await using proxy = await startFaultProxy(url);
    proxy.forbid("listen darkroom");
    const api = await cluster.start("api", { DARKROOM_DATABASE_URL: proxy.url });
    const client = clientOf(api, await cluster.createKey());
    await cluster.start("worker");
    // The API's node can neither tell nor hear of anything.
    const { id } = await client.accept(body);
    const reply = await client.get<TaskReply>(`/v1/tasks/${id}?wait=30`);
    assert.equal(reply.body.data.status, "completed");
  });

  test("while the database is away requests are 503 with Retry-After; afterwards all goes on by itself", async (t) => {
    const cluster = await startCluster(t);
    const url = await databaseUrl(cluster.folder);
    await using proxy = await startFaultProxy(url);
    const node = await cluster.start("all", { DARKROOM_DATABASE_URL: proxy.url });
    const client = clientOf(node, await cluster.createKey());
    const before = await client.accept({ ...body, prompt: "fox [[slow:2s]]" });
    proxy.refuse(true);
    proxy.cut();
    await until(
      () => client.submit(body),
      ({ status, headers }) => status === 503 && headers.get("retry-after") !== null,
    );
    const keyed = await client.refuse(body, { "idempotency-key": "away-1" });
    assert.deepEqual([keyed.status, keyed.reason], [503, "idempotency_unavailable"]);
    const poll = await until(
      () => client.get(`/v1/tasks/${before.id}`),
      ({ status }) => status === 503,
    );
    assert.ok(poll.headers.get("retry-after") !== null);
    const ready = await until(
      () => client.get("/readyz"),
      ({ status }) => status === 503,
    );
    assert.equal(ready.status, 503);
    proxy.refuse(false);
    const after = await until(
      () => client.submit(body),
      ({ status }) => status === 200,
    );
    for (const id of [before.id, after.body.data[0].task_id]) {
      const task = await until(
        () => client.get<TaskReply>(`/v1/tasks/${id}`),
        ({ status, body: { data } }) => status === 200 && hasEnded(data),
      );
      assert.equal(task.body.data.status, "completed");
    }
    await cluster.assertLedger();
  });

  test("a submit whose COMMIT is cut is answered with its task", async (t) => {
    const cluster = await startCluster(t);
    const url = await databaseUrl(cluster.folder);
    await using proxy = await startFaultProxy(url);
    const node = await cluster.start("api", { DARKROOM_DATABASE_URL: proxy.url });
    const client = clientOf(node, await cluster.createKey());
    // The heartbeat commits too; it is cut as well as a submit may be.
    for (let i = 0; i < 5; i += 1) {
      const cut = proxy.cutAt("commit\0", "after");
      const [{ id }] = await Promise.all([client.accept(body), cut]);
      assert.equal((await client.read(id)).status, "pending");
    }
    await cluster.assertLedger();
  });

  if (missing === null) removeDatabases();
});

type Report = { checks: { check: string; state: string }[] };

type Cluster = {
  /** Names the database; the nodes share it as their data folder. */
  folder: string;
  start(role: "api" | "worker" | "all", settings?: Settings): Promise<ServerProcess>;
  /** Of an account with some money. */
  createKey(mode?: "test" | "live"): Promise<string>;
  /** Of every task that has not ended, the worker that holds it. */
  listHolders(): Promise<(string | null)[]>;
  assertLedger(): Promise<void>;
};

/** Nodes that share a database, a secret and a folder of pictures; none outlives its test. */
async function startCluster(t: TestContext, shared: Settings = {}): Promise<Cluster> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-nodes-"));
  const nodes: ServerProcess[] = [];
  t.after(async () => {
    for (const node of nodes) node.kill("SIGKILL");
    await Promise.all(nodes.map(({ ended }) => ended));
    await rm(folder, { recursive: true, force: true });
  });
  return {
    folder,
    start: async (role, settings = {}) => {
      const all = { ...shared, ...settings };
      const node = await startServer(folder, all, role === "all" ? undefined : role);
      nodes.push(node);
      return node;
    },
    createKey: async (mode = "test") => {
      const { accounts } = await runJson<{ accounts: { id: string }[] }>(folder, [
        "accounts",
        "list",
      ]);
      if (accounts.length === 0) await runJson(folder, ["accounts", "create", "default"]);
      await runJson(folder, ["accounts", "credit", "default", "10", "--note", "for live keys"]);
      const args = ["keys", "create", "--account", "default", "--mode", mode, "--name", "nodes"];
      return (await runJson<{ key: string }>(folder, args)).key;
    },
    listHolders: async () => {
      const client = new PostgresClient({ connectionString: await databaseUrl(folder) });
      await client.connect();
      try {
        const query = "select worker_id from queue";
        const { rows } = await client.query<{ worker_id: string | null }>(query);
        return rows.map((row) => row.worker_id);
      } finally {
        await client.end();
      }
    },
    assertLedger: async () => {
      const report = await runJson<{ ledger: { ok: boolean } }>(folder, ["doctor"]);
      assert.equal(report.ledger.ok, true);
    },
  };
}

function clientOf({ origin }: ServerProcess, token: string): Client {
  return createClient(origin, token);
}

/** As a load balancer asks. */
async function findReady(nodes: readonly ServerProcess[]): Promise<ServerProcess[]> {
  const states = await Promise.all(
    nodes.map(({ origin }) =>
      fetch(`${origin}/readyz`).then(
        async (reply) => {
          await reply.arrayBuffer();
          return reply.ok;
        },
        () => false,
      ),
    ),
  );
  return nodes.filter((_node, index) => states[index] === true);
}

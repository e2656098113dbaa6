/** A PostgreSQL server that dies under load and comes back: nothing is lost, and nobody has to help. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { Task } from "../../../client/src/tasks.ts";
import { systemClock } from "../../src/lib/time.ts";
import { findOffences, readBooks } from "../chaos/books.ts";
import { createDice } from "../crash/dice.ts";
import { startLoad } from "../crash/load.ts";
import type { Load } from "../crash/load.ts";
import type { Menu } from "../crash/orders.ts";
import type { Settings } from "../support/app.ts";
import { createClient, until } from "../support/client.ts";
import type { Client } from "../support/client.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { runJson, startServer as startGateway } from "../support/gateway-process.ts";
import type { ServerProcess } from "../support/gateway-process.ts";
import {
  findBinaries,
  runStatement,
  startServer,
  withDatabase,
} from "../support/postgres-server.ts";
import type { OwnPostgres } from "../support/postgres-server.ts";

const body = { model: "gemini-3.1-flash-image-preview", resolution: "0.5K", size: "1:1" };

const menu: Menu = {
  wish: (dice, mark) => ({
    kind: "slow",
    body: { ...body, prompt: `${mark} a lighthouse [[slow:${dice.pick(["0.2", "0.5", "2"])}s]]` },
    promised: {
      status: "completed",
      pictures: 1,
      missing: 0,
      width: 512,
      height: 512,
      format: "jpeg",
    },
    insets: [],
  }),
};

const seed = systemClock.now() % 1_000_000;
const callersMax = 3;
const ordersMax = 6;
const calmMs = 1_500;
/** How long the server is away after each crash. */
const awaysMs = [4_000, 500];

const missing =
  findBinaries() === null ? "no PostgreSQL of our own to stop and start on this system" : null;
if (missing !== null) process.stderr.write(`\nWARNING: a restart is not tested: ${missing}\n\n`);

test(
  "while PostgreSQL crashes under load submits and polls are 503 with Retry-After, and afterwards every accepted task ends by itself, once",
  { skip: missing ?? false },
  async (t) => {
    const { postgres, url, api, worker, doctor, tokens } = await startNodes(t);
    const client = createClient(api.origin, tokens[0] ?? "");
    const dice = createDice(seed);
    const load = startLoad({ origin: api.origin, keys: tokens, menu, dice, ordersMax });
    t.after(load.abandon);
    const known = await client.accept({ ...body, prompt: "known before" });
    for (const awayMs of awaysMs) {
      await systemClock.sleep(calmMs);
      await postgres.crash();
      const back = systemClock.monotonic() + awayMs;
      await assertUnavailable(api, client, known.id);
      await systemClock.sleep(back - systemClock.monotonic());
      await postgres.start();
      await untilReady([api, worker]);
    }
    await postgres.restart();
    await systemClock.sleep(calmMs);

    await load.stop();
    for (const order of load.orders) {
      if (order.taskId !== null) await until(() => load.poll(order), Boolean);
    }
    assert.deepEqual(load.problems, [], `seed ${seed}`);
    t.diagnostic(JSON.stringify({ seed, orders: load.orders.length, ...load.counts }));
    assert.ok(load.orders.length > 30, `${load.orders.length} orders`);
    assert.ok(load.counts.comeBack > 0, "the load has noticed nothing");
    await assertBooks(url, load);
    assert.equal((await doctor()).ledger.ok, true);
    for (const node of [api, worker]) {
      node.kill("SIGTERM");
      assert.equal(await node.ended, 0, node.stderr());
    }
  },
);

test(
  "a submit whose COMMIT was the last that PostgreSQL answered before a crash is answered with its task",
  { skip: missing ?? false },
  async (t) => {
    const { postgres, url } = await startPostgres(t);
    await using proxy = await startFaultProxy(url);
    const settings = { DARKROOM_DATABASE_URL: proxy.url, DARKROOM_LOG_LEVEL: "fatal" };
    const { start, run } = await createInstallation(t, settings);
    const api = await start("api");
    const client = createClient(api.origin, await createKey(run));
    for (let round = 0; round < 3; round += 1) {
      const mark = `c0n${round}x`;
      const crashed = Promise.withResolvers<void>();
      const cut = proxy.cutAt("commit\0", "after", () => crashed.resolve(postgres.crash()));
      const [reply] = await Promise.all([
        client.submit({ ...body, prompt: `${mark} a lighthouse` }),
        Promise.all([cut, crashed.promise]).then(postgres.start),
      ]);
      const tasks = (await readBooks(url)).filter((task) => task.mark === mark);
      // A heartbeat commits too, and may be what was cut: then nothing of the submit was committed.
      assert.equal(reply.status, tasks.length === 0 ? 503 : 200, JSON.stringify(reply.body));
      if (reply.status === 200) assert.equal(reply.body.data[0].task_id, tasks[0]?.id);
      await untilReady([api]);
    }
  },
);

type Nodes = {
  postgres: OwnPostgres;
  url: string;
  api: ServerProcess;
  worker: ServerProcess;
  tokens: readonly string[];
  doctor(): Promise<{ ledger: { ok: boolean } }>;
};

/** One node of the API and one worker, on a server of their own. */
async function startNodes(t: TestContext): Promise<Nodes> {
  const { postgres, url } = await startPostgres(t);
  const settings = { DARKROOM_DATABASE_URL: url, DARKROOM_LOG_LEVEL: "warn" };
  const { start, run } = await createInstallation(t, settings);
  const api = await start("api");
  const worker = await start("worker");
  const tokens: string[] = [];
  for (let caller = 0; caller < callersMax; caller += 1) tokens.push(await createKey(run));
  return { postgres, url, api, worker, tokens, doctor: () => run("doctor") };
}

async function startPostgres(t: TestContext): Promise<{ postgres: OwnPostgres; url: string }> {
  const postgres = await startServer();
  t.after(postgres.stop);
  await runStatement(postgres.url, "create database darkroom_restart");
  return { postgres, url: withDatabase(postgres.url, "darkroom_restart") };
}

type Run = <Body>(words: string) => Promise<Body>;

/** A folder that nodes share; none of them outlives its test. */
async function createInstallation(t: TestContext, settings: Settings) {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-restart-"));
  const nodes: ServerProcess[] = [];
  t.after(async () => {
    for (const node of nodes) node.kill("SIGKILL");
    await Promise.all(nodes.map(({ ended }) => ended));
    await rm(folder, { recursive: true, force: true });
  });
  const run: Run = (words) => runJson(folder, words.split(" "), settings);
  return {
    run,
    start: async (role: "api" | "worker"): Promise<ServerProcess> => {
      const node = await startGateway(folder, settings, role);
      nodes.push(node);
      return node;
    },
  };
}

async function createKey(run: Run): Promise<string> {
  const words = "keys create --account default --mode test --name caller";
  return (await run<{ key: string }>(words)).key;
}

/** What a caller, a load balancer and a supervisor are told while there is no database. */
async function assertUnavailable(api: ServerProcess, client: Client, known: string): Promise<void> {
  const asks = [
    () => client.submit({ ...body, prompt: "meanwhile" }),
    () => client.get(`/v1/tasks/${known}`),
  ];
  for (const ask of asks) {
    const { status, headers } = await ask();
    assert.equal(status, 503);
    assert.match(headers.get("retry-after") ?? "", /^[1-9]\d*$/);
  }
  assert.equal((await fetch(`${api.origin}/readyz`)).status, 503);
  assert.equal((await fetch(`${api.origin}/healthz`)).status, 200);
}

async function untilReady(nodes: readonly ServerProcess[]): Promise<void> {
  for (const { origin } of nodes) {
    await until(
      () => fetch(`${origin}/readyz`),
      ({ ok }) => ok,
    );
  }
}

/** Every order that was answered is one task, ended as its caller was told; no other one exists. */
async function assertBooks(url: string, { orders }: Load): Promise<void> {
  assert.deepEqual(await findOffences(url), []);
  const books = (await readBooks(url)).filter(({ mark }) => mark !== "");
  for (const { mark, taskId, ended, cancels } of orders) {
    const tasks = books.filter((task) => task.mark === mark);
    // Without a key and without a reply nobody can say whether it was made; more than one it never is.
    if (taskId === null) {
      assert.ok(tasks.length <= 1, `${mark} has made ${tasks.length} tasks`);
      continue;
    }
    assert.deepEqual(
      tasks.map(({ id }) => id),
      [taskId],
    );
    const { data } = JSON.parse(`{"code":200${ended}`) as { data: Task };
    assert.equal(tasks[0]?.state, data.status);
    if (cancels === 0) assert.equal(data.status, "completed", JSON.stringify(data.error));
  }
}

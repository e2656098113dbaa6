/** A PostgreSQL server that syncs as in production, and the gateway's nodes on one database of it. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Client } from "pg";

import { addChannel } from "../../server/src/channels/add.ts";
import { parseConfig } from "../../server/src/config.ts";
import { openInstallation } from "../../server/src/installation.ts";
import { creditLive } from "../../server/test/faults/funds.ts";
import { startServer, withDatabase } from "../../server/test/support/postgres-server.ts";
import { start } from "../processes.ts";
import type { Server } from "../processes.ts";

export type Site = {
  /** Of the database. */
  url: string;
  /** Of the database server, whose processes are below it. */
  postgresPid: number;
  client: Client;
  /** Environment of every process of the gateway. */
  environment: Readonly<Record<string, string>>;
  /** A live key of an account with money. */
  token: string;
  startNode(role: "api" | "worker", settings?: Readonly<Record<string, string>>): Promise<Server>;
  stop(): Promise<void>;
};

/** As an operator of a small machine would set them: every commit is synced, memory is enough for the indexes. */
const serverSettings = {
  fsync: "on",
  full_page_writes: "on",
  synchronous_commit: "on",
  shared_buffers: "1GB",
  max_wal_size: "8GB",
  checkpoint_timeout: "15min",
  shared_preload_libraries: "pg_stat_statements",
  "pg_stat_statements.track": "top",
};

/** `vendorUrl`: base URL of an OpenAI-compatible vendor, which serves all live work. */
export async function startSite(vendorUrl: string): Promise<Site> {
  const root = await mkdtemp(join(tmpdir(), "darkroom-scale-"));
  const postgres = await startServer(serverSettings);
  const url = withDatabase(postgres.url, "scale");
  const admin = new Client({ connectionString: postgres.url });
  await admin.connect();
  await admin.query("create database scale");
  await admin.end();
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query("create extension pg_stat_statements");
  const environment = {
    DARKROOM_DATA: join(root, "data"),
    DARKROOM_PORT: "0",
    DARKROOM_LOG_LEVEL: "error",
    DARKROOM_EGRESS_ALLOW: "127.0.0.0/8",
    DARKROOM_DRAIN_SECONDS: "0",
    DARKROOM_DATABASE_URL: url,
  };
  await mkdir(environment.DARKROOM_DATA, { recursive: true, mode: 0o700 });
  const token = await createKey(environment, vendorUrl);
  return {
    url,
    postgresPid: postgres.pid(),
    client,
    environment,
    token,
    startNode: (role, settings = {}) =>
      start(["server/src/main.ts", "serve", "--role", role], { ...environment, ...settings }),
    stop: async () => {
      await client.end();
      await postgres.stop();
      await rm(root, { recursive: true, force: true });
    },
  };
}

async function createKey(
  environment: Readonly<Record<string, string>>,
  vendorUrl: string,
): Promise<string> {
  const installation = await openInstallation(parseConfig(environment));
  const { db, clock, vault, catalogue, accounts, keys } = installation;
  try {
    const { id: accountId } = await accounts.createAccount("default");
    await creditLive(installation, 1_000_000_000_000);
    await addChannel(
      { db, clock, vault, models: catalogue.list() },
      {
        name: "openai",
        provider: "openai",
        baseUrl: vendorUrl,
        secret: "sk-bench-upstream-key-0001",
        isReplacing: false,
      },
    );
    return (await keys.createKey({ accountId, mode: "live", name: "bench" })).token;
  } finally {
    await installation.close();
  }
}

export const body = {
  model: "gpt-image-2.5-flare",
  prompt: "A bamboo forest path under moonlight, painted in ink on rice paper",
  size: "1:1",
  quality: "low",
  n: 1,
};

/** Submits `count` tasks over so many connections; their ids. */
export async function submitMany(
  site: Site,
  api: Server,
  { count, connections }: { count: number; connections: number },
): Promise<readonly string[]> {
  const ids: string[] = [];
  let sent = 0;
  const send = async (): Promise<void> => {
    while (sent < count) {
      sent += 1;
      ids.push(await submit(site, api));
    }
  };
  await Promise.all(Array.from({ length: connections }, send));
  return ids;
}

export async function submit({ token }: Site, api: Server): Promise<string> {
  const reply = await fetch(`${api.url}/v1/images/generations`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await reply.text();
  if (!reply.ok) throw new Error(`HTTP ${reply.status}: ${text}`);
  // What a submit answers.
  return (JSON.parse(text) as { data: [{ task_id: string }] }).data[0].task_id;
}

export async function readNumber({ client }: Site, query: string): Promise<number> {
  const { rows } = await client.query<{ value: string | number }>(query);
  return Number(rows[0]?.value);
}

/** Waits until nothing is queued; fails when tasks have not completed. */
export async function untilDone(site: Site, everyMs = 50): Promise<void> {
  while ((await readNumber(site, "select count(*) as value from queue")) > 0) {
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  // By the index: to read millions of rows would be counted as the tasks' cost.
  const query = `select count(*) as value from
    (select state from tasks where ended_at is not null order by ended_at desc limit 1000) newest
    where state in ('failed', 'cancelled')`;
  const failed = await readNumber(site, query);
  if (failed > 0) throw new Error(`${failed} tasks have failed`);
}

/**
 * A whole gateway in this process: real files in a folder of its own, a real port, and clients that
 * speak to it over real sockets. A test file starts one and shares it; nothing of it is left behind.
 */
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { findLockedUsage, listUsages } from "../../src/accounts/key-usage.ts";
import type { KeySettings } from "../../src/accounts/key-settings.ts";
import { createApp } from "../../src/app.ts";
import { checkLedger } from "../../src/billing/check.ts";
import { parseConfig } from "../../src/config.ts";
import { openInstallation } from "../../src/installation.ts";
import type { Installation } from "../../src/installation.ts";
import { listOpenTaskIds } from "../../src/tasks/sweep-store.ts";
import { databaseSettings } from "./api-database.ts";
import { createClient } from "./client.ts";
import type { Client } from "./client.ts";

export type Gateway = {
  /** `http://127.0.0.1:PORT`, no slash at the end. */
  origin: string;
  folder: string;
  /** What the gateway stands on: accounts, keys and database, as an operator command has them. */
  installation: Installation;
  /** A new account, and the id by which keys are made for it. */
  createAccount(name: string): Promise<string>;
  /** A new key: of the account `default` and for tests, unless the settings say otherwise. */
  createKey(settings?: Partial<KeySettings>): Promise<{ id: string; token: string }>;
  /** A client with a new key of these settings. */
  connect(settings?: Partial<KeySettings>): Promise<Client>;
  /** A client with a known key, or with none. */
  clientOf(token: string | null): Client;
  /** Stops everything; fails when the ledger does not add up, or when a child process is left. */
  stop(): Promise<void>;
};

export type Settings = Readonly<Record<string, string>>;

/** Settings under which every gateway of a test runs: any free port, loopback addresses trusted. */
export function testEnvironment(folder: string, settings: Settings = {}): Record<string, string> {
  return {
    DARKROOM_DATA: folder,
    DARKROOM_PORT: "0",
    DARKROOM_EGRESS_ALLOW: "127.0.0.0/8",
    DARKROOM_DRAIN_SECONDS: "0",
    ...settings,
  };
}

/** Gateways of this process that run now: the children of one are not to be told from another's. */
let running = 0;

/** Starts a gateway with the account `default`. */
export async function startGateway(settings: Settings = {}): Promise<Gateway> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-api-"));
  const database = await databaseSettings(folder);
  const environment = testEnvironment(folder, {
    DARKROOM_LOG_LEVEL: "error",
    ...database,
    ...settings,
  });
  const installation = await openInstallation(parseConfig(environment));
  const account = await installation.accounts.createAccount("default");
  const app = createApp(installation);
  const origin = await app.start();
  running += 1;
  const clientOf = (token: string | null): Client => createClient(origin, token);
  const createKey = async (given: Partial<KeySettings> = {}) => {
    const settled = { accountId: account.id, mode: "test", name: "test", ...given } as const;
    const { key, token } = await installation.keys.createKey(settled);
    return { id: key.id, token };
  };
  return {
    origin,
    folder,
    installation,
    createAccount: async (name) => (await installation.accounts.createAccount(name)).id,
    createKey,
    connect: async (given) => clientOf((await createKey(given)).token),
    clientOf,
    stop: async () => {
      const { db } = installation;
      const check = await checkLedger({ db, listOpenTaskIds, listUsages, findLockedUsage });
      await app.stop();
      running -= 1;
      await rm(folder, { recursive: true, force: true });
      assert.deepEqual(check.problems, []);
      if (running === 0) assert.deepEqual(await listChildren(), [], "child processes are left");
    },
  };
}

/** Command lines of this process's children; empty where the system does not tell. */
async function listChildren(): Promise<string[]> {
  const lines = await Promise.all((await listChildIds("self")).map(readCommandLine));
  // A process that has ended and is only waited for has no command line.
  return lines.filter((line) => line !== "");
}

/** Ids of a process's children, those included that have ended and are only waited for. */
export async function listChildIds(parent: number | "self"): Promise<number[]> {
  const threads = await readdir(`/proc/${parent}/task`).catch(() => []);
  const lists = await Promise.all(
    threads.map((thread) => readOrEmpty(`/proc/${parent}/task/${thread}/children`)),
  );
  return lists.flatMap((list) =>
    list.split(" ").flatMap((word) => (word === "" ? [] : Number(word))),
  );
}

/** Empty for a process that does not exist, or has ended. */
export async function readCommandLine(pid: number): Promise<string> {
  return (await readOrEmpty(`/proc/${pid}/cmdline`)).replaceAll("\0", " ").trim();
}

function readOrEmpty(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}

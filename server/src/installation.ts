/**
 * What `serve` and every operator command stand on: the data folder, the master secret, the database,
 * and the verbs on accounts, keys and money. Commands open one beside a running server.
 */
import { mkdir, rm } from "node:fs/promises";
import { dirname } from "node:path";

import manifest from "../package.json" with { type: "json" };
import { createAccounts } from "./accounts/accounts.ts";
import type { Accounts } from "./accounts/accounts.ts";
import { createKeys } from "./accounts/keys.ts";
import type { Keys } from "./accounts/keys.ts";
import { openBooks } from "./billing/ledger.ts";
import type { Config } from "./config.ts";
import { assertFinished, assertNotMoved, secretFingerprint } from "./db/copy-marks.ts";
import type { Database } from "./db/database.ts";
import { openDatabase } from "./db/open.ts";
import type { DatabaseDeps } from "./db/open.ts";
import { findSetting, keepSetting } from "./db/settings.ts";
import { createEgress, systemResolver } from "./lib/egress.ts";
import type { Egress } from "./lib/egress.ts";
import { AppError } from "./lib/errors.ts";
import { createIds } from "./lib/ids.ts";
import type { Ids } from "./lib/ids.ts";
import { createLog } from "./lib/log.ts";
import type { Log } from "./lib/log.ts";
import { systemRandom } from "./lib/random.ts";
import type { Random } from "./lib/random.ts";
import { loadOrCreateSecrets } from "./lib/secrets.ts";
import type { Secrets } from "./lib/secrets.ts";
import { createAdjustableClock, minuteMs, systemClock } from "./lib/time.ts";
import type { AdjustableClock, Clock } from "./lib/time.ts";
import { createVault } from "./lib/vault.ts";
import type { Vault } from "./lib/vault.ts";
import { createCatalogue } from "./models/catalogue.ts";
import type { Catalogue } from "./models/catalogue.ts";
import { createDiskStorage } from "./storage/disk.ts";
import type { Storage } from "./storage/storage.ts";
import { setClock } from "./tasks/node.ts";

export type Installation = {
  config: Config;
  /** Of the server, as its package says. */
  version: string;
  /** Goes by the database's clock, which all nodes share. */
  clock: AdjustableClock;
  random: Random;
  ids: Ids;
  log: Log;
  secrets: Secrets;
  /** For keys of vendors. */
  vault: Vault;
  /** For requests and operator commands. */
  db: Database;
  /** The same database for the engine: on PostgreSQL through connections of its own. */
  engineDb: Database;
  storage: Storage;
  /** Opens a guarded way out that reaches these networks besides the public internet. */
  openEgress(allow: readonly string[]): Egress;
  catalogue: Catalogue;
  accounts: Accounts;
  keys: Keys;
  close(): Promise<void>;
};

/** What one process does: serve the API, run tasks, or both. */
export const roles = ["all", "api", "worker"] as const;
export type Role = (typeof roles)[number];

/**
 * What an installation is opened for. Commands run longer statements, on few connections; a move may begin
 * anew on one that says that it has moved, because it may have been cut short after that was written.
 */
export type Purpose = "serve" | "command" | "move";

/** Longest statement of a command: one that checks the whole ledger. */
const commandStatementMs = 30 * minuteMs;
const commandConnectionsMax = 2;

/** Makes what is missing. Throws `SecretFileError`, or `AppError` when the database cannot be used, or has moved. */
export async function openInstallation(
  config: Config,
  purpose: Purpose = "serve",
): Promise<Installation> {
  const clock = createAdjustableClock(systemClock);
  const random = systemRandom;
  const ids = createIds(clock, random);
  const log = createLog(config.log.level);
  await makeFolder(config.data.folder);
  await makeFolder(dirname(config.data.secretFile));
  const { secretFile } = config.data;
  const { secrets, created } = await loadOrCreateSecrets(secretFile, random);
  const { db, engineDb, close } = await openDatabases(config, purpose, {
    clock,
    random,
    log,
    onFatal: (error) => die(log, error),
  });
  try {
    await setClock({ db, clock, log });
    await checkSecret(db, secrets, { path: secretFile, isNew: created });
    if (purpose !== "move") await assertNotMoved(db.read);
  } catch (error) {
    await close();
    throw error;
  }
  const storage = await openStorage(config, { clock, random });
  return {
    config,
    version: manifest.version,
    clock,
    random,
    ids,
    log,
    secrets,
    vault: createVault({ key: secrets.derive("vault"), random }),
    db,
    engineDb,
    storage,
    openEgress: (allow) => createEgress({ allow, resolve: systemResolver, clock }),
    catalogue: createCatalogue(),
    accounts: createAccounts({ db, clock, ids, openBooks }),
    keys: createKeys({ db, clock, random, ids, pepper: secrets.derive("api-keys") }),
    close: () => Promise.all([close(), storage.close()]).then(() => undefined),
  };
}

type Databases = { db: Database; engineDb: Database; close(): Promise<void> };

/** On PostgreSQL a rush of requests cannot take the engine's connections, nor the engine theirs. */
async function openDatabases(
  { data: { database } }: Config,
  purpose: Purpose,
  deps: DatabaseDeps,
): Promise<Databases> {
  if (database.kind === "sqlite") {
    const db = await openDatabase(database, deps);
    return { db, engineDb: db, close: () => db.close() };
  }
  const target = { kind: "postgres", url: database.url.reveal() } as const;
  if (purpose !== "serve") {
    const db = await openDatabase(
      {
        ...target,
        connectionsMax: commandConnectionsMax,
        statementTimeoutMs: commandStatementMs,
        applicationName: "darkroom command",
      },
      deps,
    );
    return { db, engineDb: db, close: () => db.close() };
  }
  const open = (purposeName: string, connections: number): Promise<Database> =>
    openDatabase(
      {
        ...target,
        connectionsMax: Math.max(1, Math.floor(connections / 2)),
        applicationName: `darkroom ${purposeName}`,
      },
      deps,
    );
  const db = await open("api", database.apiConnectionsMax);
  const engineDb = await open("engine", database.engineConnectionsMax);
  return { db, engineDb, close: () => Promise.all([db.close(), engineDb.close()]).then(() => {}) };
}

async function openStorage(
  { data }: Config,
  deps: { clock: Clock; random: Random },
): Promise<Storage> {
  const { storage } = data;
  if (storage.kind === "disk") return createDiskStorage({ ...deps, folder: storage.folder });
  // With what it needs it takes megabytes that an installation on one machine never uses.
  const { createS3Storage } = await import("./storage/s3.ts");
  return createS3Storage({ ...deps, target: storage.target, credentials: storage.credentials });
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new AppError("unavailable", `folder ${path} cannot be made: ${reason}`, { cause: error });
  }
}

/** Every key and link depends on the secret: with another one than the database was made with, all of them are dead. */
async function checkSecret(
  db: Database,
  { fingerprint }: Secrets,
  { path, isNew }: { path: string; isNew: boolean },
): Promise<void> {
  const known = await findSetting(db.read, secretFingerprint);
  if (known !== null) assertFinished(known);
  if (known === fingerprint) return;
  // Of two nodes that start at the same time, the first says which secret it is.
  const kept = await db.transaction((tx) =>
    keepSetting(tx, secretFingerprint, known ?? fingerprint),
  );
  if (kept === fingerprint) return;
  // A file of our own making must not stand where the right one is missing.
  if (isNew) await rm(path, { force: true });
  throw new AppError(
    "unavailable",
    isNew
      ? `there is no secret file ${path}, and this database was made with one; put it back`
      : `the secret in ${path} is not the one that this database was made with; put the right file back`,
  );
}

/** After a storage failure nobody can say what was committed: only a fresh start reads it back. */
function die(log: Log, error: Error): never {
  log.fatal({ err: error }, "the database's storage failed; stopping");
  process.exit(70);
}

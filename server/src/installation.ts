/**
 * What `serve` and every operator command stand on: the data folder, the master secret, the database,
 * and the verbs on accounts, keys and money. Commands open one beside a running server.
 */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";

import manifest from "../package.json" with { type: "json" };
import { createAccounts } from "./accounts/accounts.ts";
import type { Accounts } from "./accounts/accounts.ts";
import { createKeys } from "./accounts/keys.ts";
import type { Keys } from "./accounts/keys.ts";
import { openBooks } from "./billing/ledger.ts";
import type { Config } from "./config.ts";
import type { Database } from "./db/database.ts";
import { openDatabase } from "./db/open.ts";
import { findSetting, saveSetting } from "./db/settings.ts";
import { AppError } from "./lib/errors.ts";
import { createIds } from "./lib/ids.ts";
import type { Ids } from "./lib/ids.ts";
import { createLog } from "./lib/log.ts";
import type { Log } from "./lib/log.ts";
import { systemRandom } from "./lib/random.ts";
import type { Random } from "./lib/random.ts";
import { loadOrCreateSecrets } from "./lib/secrets.ts";
import type { Secrets } from "./lib/secrets.ts";
import { systemClock } from "./lib/time.ts";
import type { Clock } from "./lib/time.ts";
import { createCatalogue } from "./models/catalogue.ts";
import type { Catalogue } from "./models/catalogue.ts";
import { createDiskStorage } from "./storage/disk.ts";
import type { DiskStorage } from "./storage/disk.ts";

export type Installation = {
  config: Config;
  /** Of the server, as its package says. */
  version: string;
  clock: Clock;
  random: Random;
  ids: Ids;
  log: Log;
  secrets: Secrets;
  db: Database;
  storage: DiskStorage;
  catalogue: Catalogue;
  accounts: Accounts;
  keys: Keys;
  close(): Promise<void>;
};

const secretFingerprint = "secret_fingerprint";

/** Makes what is missing. Throws `SecretFileError`, or `AppError` when the database cannot be used. */
export async function openInstallation(config: Config): Promise<Installation> {
  const clock = systemClock;
  const random = systemRandom;
  const ids = createIds(clock, random);
  const log = createLog(config.log.level);
  await makeFolder(config.data.folder);
  await makeFolder(dirname(config.data.secretFile));
  const { secrets } = await loadOrCreateSecrets(config.data.secretFile, random);
  const { database } = config.data;
  const target =
    database.kind === "sqlite" ? database : { kind: database.kind, url: database.url.reveal() };
  const db = await openDatabase(target, {
    clock,
    random,
    log,
    onFatal: (error) => die(log, error),
  });
  await checkSecret(db, secrets, config.data.secretFile);
  return {
    config,
    version: manifest.version,
    clock,
    random,
    ids,
    log,
    secrets,
    db,
    storage: createDiskStorage({ folder: join(config.data.folder, "objects"), random }),
    catalogue: createCatalogue(),
    accounts: createAccounts({ db, clock, ids, openBooks }),
    keys: createKeys({ db, clock, random, ids, pepper: secrets.derive("api-keys") }),
    close: () => db.close(),
  };
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
async function checkSecret(db: Database, { fingerprint }: Secrets, path: string): Promise<void> {
  const known = await findSetting(db.read, secretFingerprint);
  if (known === fingerprint) return;
  if (known === null) {
    await db.transaction((tx) => saveSetting(tx, secretFingerprint, fingerprint));
    return;
  }
  await db.close();
  throw new AppError(
    "unavailable",
    `the secret in ${path} is not the one that this database was made with; put the right file back`,
  );
}

/** After a storage failure nobody can say what was committed: only a fresh start reads it back. */
function die(log: Log, error: Error): never {
  log.fatal({ err: error }, "the database's storage failed; stopping");
  process.exit(70);
}

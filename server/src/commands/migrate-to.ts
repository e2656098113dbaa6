/**
 * `migrate-to`: an installation on SQLite becomes one on PostgreSQL. Nothing of the old one is removed. At no
 * moment can both be served: the copy is unfinished until the old one says that it has moved.
 */
import { join } from "node:path";

import { findLockedUsage, listUsages } from "../accounts/key-usage.ts";
import { checkLedger } from "../billing/check.ts";
import type { LedgerCheck } from "../billing/check.ts";
import {
  copyTable,
  eachObject,
  emptyTables,
  findDifference,
  isUnused,
  loadDataVersion,
  tableNames,
} from "../db/copy.ts";
import { markUnfinished, movedTo, secretFingerprint } from "../db/copy-marks.ts";
import type { Database } from "../db/database.ts";
import { lockFolder } from "../db/folder-lock.ts";
import { openDatabase } from "../db/open.ts";
import { findSetting, saveSetting } from "../db/settings.ts";
import type { Installation } from "../installation.ts";
import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { hide } from "../lib/secrets.ts";
import { hourMs } from "../lib/time.ts";
import { findS3Target, s3TargetForm } from "../storage/s3-target.ts";
import { StorageError } from "../storage/storage.ts";
import type { Storage } from "../storage/storage.ts";
import { listOpenTaskIds } from "../tasks/sweep-store.ts";
import { UsageError } from "./command.ts";
import type { Command, CommandInput, CommandResult } from "./command.ts";
import { copyObjects } from "./copy-objects.ts";
import type { CopiedObjects } from "./copy-objects.ts";

export const migrateCommands: readonly Command[] = [
  {
    name: "migrate-to",
    usage: "postgres://USER@HOST/DATABASE [--storage s3://BUCKET?…] [--json]",
    summary:
      "Copies this installation, which no server may run on, into an empty PostgreSQL database; with " +
      "--storage its pictures into a bucket. PGPASSWORD can hold the password.",
    options: { storage: { type: "string" } },
    positionals: ["url"],
    purpose: "move",
    run: migrate,
  },
];

const connectionsMax = 2;
/** For the check of the whole ledger. */
const statementTimeoutMs = hourMs;
const objectsBetweenLines = 1_000;

async function migrate(installation: Installation, input: CommandInput): Promise<CommandResult> {
  const { config, db } = installation;
  if (db.dialect !== "sqlite") {
    throw new UsageError(
      "migrate-to copies from SQLite; unset DARKROOM_DATABASE_URL to copy from the data folder",
    );
  }
  const url = parseTarget(input.word(0) ?? "");
  const bucket = await openBucket(installation, input);
  const lock = lockFolder(join(config.data.folder, "server.lock"));
  try {
    if (bucket !== null) await checkBucket(bucket);
    const target = await openTarget(installation, url.href);
    try {
      return await move(installation, { target, address: describe(url), bucket });
    } finally {
      await target.close();
    }
  } finally {
    lock.release();
    await bucket?.close();
  }
}

/** Asked before anything is copied: pictures come last, and a name that was mistyped would be found out then. */
async function checkBucket(bucket: Storage): Promise<void> {
  try {
    await bucket.check();
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    throw new AppError(
      "unavailable",
      `nothing was copied: the bucket of --storage cannot be written to (${error.message}); make it, or correct ` +
        "its name, its endpoint and AWS_ACCESS_KEY_ID",
      { cause: error },
    );
  }
}

type Destination = { target: Database; address: string; bucket: Storage | null };

async function move(
  { db, secrets, storage }: Installation,
  { target, address, bucket }: Destination,
): Promise<CommandResult> {
  const version = await db.transaction(loadDataVersion);
  const before = await checkSide(db, "this installation");
  await prepareTarget(target, secrets.fingerprint);
  const tables: Record<string, number> = {};
  for (const table of tableNames) {
    tables[table] = await copyTable(db.read, target, table);
    say(`${table}: ${tables[table]} rows`);
  }
  for (const table of tableNames) {
    const difference = await findDifference(db.read, target.read, table);
    if (difference !== null) throw new AppError("unavailable", `the copy differs: ${difference}`);
  }
  const after = await checkSide(target, "the copy");
  const objects = bucket === null ? null : await moveObjects(db, storage, bucket);
  await finish(db, target, { version, address, fingerprint: secrets.fingerprint });
  return report({ address, tables, before, after, objects });
}

/** Every balance against the ledger, to the micro-dollar. */
async function checkSide(db: Database, name: string): Promise<LedgerCheck> {
  const check = await checkLedger({ db, listOpenTaskIds, listUsages, findLockedUsage });
  if (check.ok) return check;
  const problems = check.problems.slice(0, 5).join("; ");
  throw new AppError(
    "unavailable",
    `the ledger of ${name} does not add up, so it is not moved: ${problems}`,
  );
}

/** An interrupted copy of the same installation begins anew; anything else that is there stays untouched. */
async function prepareTarget(target: Database, fingerprint: string): Promise<void> {
  const mark = markUnfinished(fingerprint);
  const known = await findSetting(target.read, secretFingerprint);
  if (known !== mark) {
    const isOurs = known === null || known === fingerprint;
    if (!isOurs || !(await isUnused(target.read))) {
      throw new AppError(
        "invalid_parameter",
        "the database to copy into holds an installation already; give an empty one",
      );
    }
  }
  await target.transaction(async (tx) => {
    await emptyTables(tx);
    await saveSetting(tx, secretFingerprint, mark);
  });
}

async function moveObjects(db: Database, from: Storage, to: Storage): Promise<CopiedObjects> {
  const copied = await copyObjects({
    names: eachObject(db.read),
    from,
    to,
    onProgress: (done) => {
      if (done % objectsBetweenLines === 0) say(`objects: ${done}`);
    },
  });
  say(
    `objects: ${copied.copied} copied, ${copied.present} were there, ${copied.absent} have expired`,
  );
  return copied;
}

/** The old one says that it has moved before the new one may be served. */
async function finish(
  db: Database,
  target: Database,
  { version, address, fingerprint }: { version: number; address: string; fingerprint: string },
): Promise<void> {
  await db.transaction(async (tx) => {
    // A command beside the copy has written something that may not be in it.
    if ((await loadDataVersion(tx)) !== version) {
      throw new AppError(
        "unavailable",
        "the installation was changed while it was copied; run it again",
      );
    }
    await saveSetting(tx, movedTo, address);
  });
  await db.durable();
  await target.transaction((tx) => saveSetting(tx, secretFingerprint, fingerprint));
}

type Moved = {
  address: string;
  tables: Record<string, number>;
  before: LedgerCheck;
  after: LedgerCheck;
  objects: CopiedObjects | null;
};

function report({ address, tables, before, after, objects }: Moved): CommandResult {
  const rows = Object.values(tables).reduce((sum, count) => sum + count, 0);
  const pictures =
    objects === null
      ? "Pictures stay where they are."
      : `${objects.copied + objects.present} pictures are in the bucket.`;
  const ledger: JsonObject = { before: before.entries, after: after.entries, ok: true };
  return {
    text: [
      `Moved ${rows} rows to ${address}: every row is the same on both sides, and every balance adds up.`,
      pictures,
      "Set DARKROOM_DATABASE_URL, keep the secret file, start the server, and run doctor.",
    ].join("\n"),
    json: { moved_to: address, rows, tables, ledger, ...(objects === null ? {} : { objects }) },
  };
}

function parseTarget(text: string): URL {
  const url = /^postgres(?:ql)?:\/\//.test(text) ? URL.parse(text) : null;
  if (url !== null && url.hostname !== "" && url.pathname.length > 1) return url;
  // The text may hold a password, so it is not repeated.
  throw new UsageError("the address to move to must be postgres://USER@HOST/DATABASE");
}

/** Without user and password: it is written down. */
function describe(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}`;
}

function openTarget({ clock, random, log }: Installation, url: string): Promise<Database> {
  return openDatabase(
    { kind: "postgres", url, connectionsMax, statementTimeoutMs, applicationName: "darkroom move" },
    {
      clock,
      random,
      log,
      onFatal: (error) => {
        throw error;
      },
    },
  );
}

async function openBucket(
  { clock, random }: Installation,
  input: CommandInput,
): Promise<Storage | null> {
  const text = input.option("storage");
  if (text === null) return null;
  const target = findS3Target(text);
  if (target === null) throw new UsageError(`--storage must be ${s3TargetForm}`);
  const accessKeyId = input.variable("AWS_ACCESS_KEY_ID");
  const secretAccessKey = input.variable("AWS_SECRET_ACCESS_KEY");
  if (accessKeyId === null || secretAccessKey === null) {
    throw new UsageError("--storage needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
  }
  const token = input.variable("AWS_SESSION_TOKEN");
  const credentials = {
    accessKeyId,
    secretAccessKey: hide(secretAccessKey),
    sessionToken: token === null ? null : hide(token),
  };
  const { createS3Storage } = await import("../storage/s3.ts");
  return createS3Storage({ target, credentials, clock, random });
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

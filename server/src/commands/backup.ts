/** `backup`: everything that a data folder needs to live again, taken beside a running server. */
import { copyFile, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";

import { backUpSqlite } from "../db/backup.ts";
import { eachObject } from "../db/copy.ts";
import { openDatabase } from "../db/open.ts";
import type { Installation } from "../installation.ts";
import { AppError } from "../lib/errors.ts";
import { createDiskStorage } from "../storage/disk.ts";
import { UsageError } from "./command.ts";
import type { Command, CommandInput, CommandResult } from "./command.ts";
import { copyObjects } from "./copy-objects.ts";
import type { CopiedObjects } from "./copy-objects.ts";

export const backupCommands: readonly Command[] = [
  {
    name: "backup",
    usage: "FOLDER [--without-pictures] [--json]",
    summary:
      "Copies database, secret and pictures into a new folder, beside a running server. The folder " +
      "holds the secret: keep it as safe as the original.",
    options: { "without-pictures": { type: "boolean" } },
    positionals: ["folder"],
    run: backUp,
  },
];

async function backUp(installation: Installation, input: CommandInput): Promise<CommandResult> {
  const { database, storage, secretFile } = installation.config.data;
  if (database.kind !== "sqlite") {
    throw new UsageError(
      "backup copies SQLite; a PostgreSQL database is backed up with its own tools, such as pg_dump",
    );
  }
  const folder = resolve(input.word(0) ?? "");
  if (await exists(folder)) {
    throw new AppError(
      "invalid_parameter",
      `${folder} exists already; name a folder that does not`,
    );
  }
  // Until everything is there it has another name, so that half a backup is never taken for one.
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true, mode: 0o700 });
  const copyPath = join(partial, "darkroom.db");
  await backUpSqlite(database.path, copyPath);
  const isWithPictures = storage.kind === "disk" && !input.flag("without-pictures");
  const objects = isWithPictures ? await copyPictures(installation, partial, copyPath) : null;
  await copyFile(secretFile, join(partial, "secret"));
  await seal(partial, folder);
  return report(folder, (await stat(join(folder, "darkroom.db"))).size, objects);
}

/** The pictures that the copied database names: it is older than they can be, so none of them is missing. */
async function copyPictures(
  { storage, clock, random, log }: Installation,
  folder: string,
  copyPath: string,
): Promise<CopiedObjects> {
  const onFatal = (error: Error): never => {
    throw error;
  };
  const copy = await openDatabase(
    { kind: "sqlite", path: copyPath },
    { clock, random, log, onFatal },
  );
  try {
    return await copyObjects({
      names: eachObject(copy.read),
      from: storage,
      to: createDiskStorage({ folder: join(folder, "objects"), random }),
      onProgress: () => undefined,
    });
  } finally {
    await copy.close();
  }
}

async function seal(partial: string, folder: string): Promise<void> {
  for (const name of ["darkroom.db", "secret", "."]) await sync(join(partial, name));
  await rename(partial, folder);
  await sync(dirname(folder));
}

async function sync(path: string): Promise<void> {
  // Windows opens no folder for syncing, and no file that is open for reading.
  if (process.platform === "win32") return;
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function report(folder: string, bytes: number, objects: CopiedObjects | null): CommandResult {
  const pictures =
    objects === null
      ? "Pictures are not in it."
      : `${objects.copied} pictures are in it; ${objects.absent} had expired.`;
  return {
    text: `Backed up to ${folder}: a database of ${bytes} bytes, and the secret. ${pictures}`,
    json: {
      folder,
      database_bytes: bytes,
      pictures: objects === null ? null : objects.copied,
      picture_bytes: objects?.bytes ?? 0,
      expired: objects?.absent ?? 0,
    },
  };
}

/** Every statement on `references`, `uploads` and `outputs`. */
import type { Handle, Tx } from "../db/database.ts";
import type { Mode, OutputRow, ReferenceRow, UploadRow } from "../db/schema.ts";
import { insertRows, prepare } from "../db/statements.ts";
import type { StoredOutput } from "./outputs.ts";
import type { KeptReference } from "./references.ts";

type TaskRef = { accountId: string; id: string };
type TaskKey = { accountId: string; taskId: string };

const referenceColumns = [
  "account_id",
  "task_id",
  "position",
  "object",
  "content_type",
  "width",
  "height",
  "bytes",
  "remove_at",
] as const satisfies readonly (keyof ReferenceRow)[];

const outputColumns = [
  "account_id",
  "task_id",
  "slot",
  "object",
  "content_type",
  "width",
  "height",
  "bytes",
  "created_at",
  "remove_at",
] as const satisfies readonly (keyof OutputRow)[];

const insertReferenceRows = insertRows("references", referenceColumns);
const insertOutputRows = insertRows("outputs", outputColumns);

export async function insertReferences(
  tx: Tx,
  task: TaskRef,
  references: readonly KeptReference[],
): Promise<void> {
  const rows = references.map((kept): ReferenceRow => ({
    account_id: task.accountId,
    task_id: task.id,
    position: kept.position,
    object: kept.object,
    content_type: kept.contentType,
    width: kept.width,
    height: kept.height,
    bytes: kept.bytes,
    remove_at: null,
  }));
  await insertReferenceRows(tx, rows);
}

const selectReferences = prepare((db, p: TaskKey) =>
  db
    .selectFrom("references")
    .select(referenceColumns)
    .where("account_id", "=", p.accountId)
    .where("task_id", "=", p.taskId)
    .orderBy("position"),
);

/** A task's references in their order; the mask first, at position -1. */
export function loadReferences(
  handle: Handle,
  accountId: string,
  taskId: string,
): Promise<ReferenceRow[]> {
  return selectReferences.all(handle, { accountId, taskId });
}

export type NewOutput = {
  accountId: string;
  taskId: string;
  slot: number;
  output: StoredOutput;
  now: number;
};

export async function insertOutputs(tx: Tx, outputs: readonly NewOutput[]): Promise<void> {
  if (outputs.length === 0) return;
  const rows = outputs.map(({ accountId, taskId, slot, output, now }): OutputRow => ({
    account_id: accountId,
    task_id: taskId,
    slot,
    object: output.object,
    content_type: output.contentType,
    width: output.width,
    height: output.height,
    bytes: output.bytes,
    created_at: now,
    remove_at: null,
  }));
  await insertOutputRows(tx, rows);
}

const selectOutputs = prepare((db, p: TaskKey) =>
  db
    .selectFrom("outputs")
    .select(outputColumns)
    .where("account_id", "=", p.accountId)
    .where("task_id", "=", p.taskId)
    .orderBy("slot"),
);

/** A task's outputs in the order of their slots. */
export function loadOutputs(
  handle: Handle,
  accountId: string,
  taskId: string,
): Promise<OutputRow[]> {
  return selectOutputs.all(handle, { accountId, taskId });
}

export async function insertUpload(tx: Tx, row: UploadRow): Promise<void> {
  await tx.insertInto("uploads").values(row).execute();
}

/** What a stored object is to its account: an upload of one mode, or a result of a task. */
export type OwnPicture = { kind: "upload"; mode: Mode } | { kind: "output"; taskId: string };

/** Null for an object that is neither an upload nor a result of this account. */
export async function findOwnPicture(
  handle: Handle,
  accountId: string,
  object: string,
): Promise<OwnPicture | null> {
  const upload = await handle
    .selectFrom("uploads")
    .select("mode")
    .where("account_id", "=", accountId)
    .where("object", "=", object)
    .executeTakeFirst();
  if (upload !== undefined) return { kind: "upload", mode: upload.mode };
  const output = await handle
    .selectFrom("outputs")
    .select("task_id")
    .where("account_id", "=", accountId)
    .where("object", "=", object)
    .executeTakeFirst();
  return output === undefined ? null : { kind: "output", taskId: output.task_id };
}

/** Those of the names that a row has, whosever it is. For lists of at most a thousand. */
export async function findNamedObjects(
  handle: Handle,
  names: readonly string[],
): Promise<Set<string>> {
  const named = new Set<string>();
  for (const table of ["outputs", "references", "uploads"] as const) {
    const rows = await handle
      .selectFrom(table)
      .select("object")
      .where("object", "in", names)
      .execute();
    for (const { object } of rows) named.add(object);
  }
  return named;
}

const updateRemoval = {
  outputs: prepareRemoval("outputs"),
  references: prepareRemoval("references"),
};

function prepareRemoval(table: "outputs" | "references") {
  return prepare((db, p: TaskKey & { removeAt: number }) =>
    db
      .updateTable(table)
      .set({ remove_at: p.removeAt })
      .where("account_id", "=", p.accountId)
      .where("task_id", "=", p.taskId),
  );
}

/** Says when the bytes of an ended task may go. */
export async function scheduleRemoval(
  tx: Tx,
  input: TaskKey & { outputsAt: number; referencesAt: number },
): Promise<void> {
  const { accountId, taskId } = input;
  await updateRemoval.outputs.run(tx, { accountId, taskId, removeAt: input.outputsAt });
  await updateRemoval.references.run(tx, { accountId, taskId, removeAt: input.referencesAt });
}

/** One object whose bytes are due to go, and the row that says so. */
export type DueObject = {
  table: "outputs" | "references" | "uploads";
  accountId: string;
  object: string;
};

/** Objects that are due for removal, at most `limit` a table. */
export async function loadDueObjects(
  handle: Handle,
  now: number,
  limit: number,
): Promise<DueObject[]> {
  const due: DueObject[] = [];
  for (const table of ["outputs", "references"] as const) {
    const rows = await handle
      .selectFrom(table)
      .select(["account_id", "object"])
      .where("remove_at", "is not", null)
      .where("remove_at", "<=", now)
      .orderBy("remove_at")
      .limit(limit)
      .execute();
    due.push(...rows.map((row) => ({ table, accountId: row.account_id, object: row.object })));
  }
  const uploads = await handle
    .selectFrom("uploads")
    .select(["account_id", "object"])
    .where("expires_at", "<=", now)
    .orderBy("expires_at")
    .limit(limit)
    .execute();
  for (const row of uploads) {
    due.push({ table: "uploads", accountId: row.account_id, object: row.object });
  }
  return due;
}

/** Remembers that the bytes are gone: an upload's row goes with them, a task's rows stay with the task. */
export async function forgetObjects(tx: Tx, objects: readonly DueObject[]): Promise<void> {
  for (const { table, accountId, object } of objects) {
    if (table === "uploads") {
      await tx
        .deleteFrom("uploads")
        .where("account_id", "=", accountId)
        .where("object", "=", object)
        .execute();
    } else {
      await tx
        .updateTable(table)
        .set({ remove_at: null })
        .where("account_id", "=", accountId)
        .where("object", "=", object)
        .execute();
    }
  }
}

/** Removes the rows of a task that is no longer kept; returns the objects whose bytes had not gone before. */
export async function deletePictureRows(
  tx: Tx,
  accountId: string,
  taskId: string,
): Promise<string[]> {
  const objects: string[] = [];
  for (const table of ["outputs", "references"] as const) {
    const rows = await tx
      .deleteFrom(table)
      .where("account_id", "=", accountId)
      .where("task_id", "=", taskId)
      .returning(["object", "remove_at"])
      .execute();
    objects.push(...rows.filter((row) => row.remove_at !== null).map((row) => row.object));
  }
  return objects;
}

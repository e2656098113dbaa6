/** What must be true of a data folder after any number of crashes, read from its files with SQL of its own. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

import { runOperator } from "./server-process.ts";

export type Audit = {
  problems: string[];
  tasks: number;
  pictures: number;
  entries: number;
  /** Objects that no row names: stored, and then the process was killed before the commit. */
  orphans: number;
};

/** Statements that find what is wrong: none may give a row. */
const offences: Record<string, string> = {
  "a task has not ended": "select id from tasks where ended_at is null or open_slots <> 0",
  "a task is still queued": "select task_id, state, claims from queue",
  "an attempt is still under way": "select id from attempts where state in ('sent', 'running')",
  "a slot is still open": `
    select id from tasks t where pictures <>
      (select count(*) from slots s where s.account_id = t.account_id and s.task_id = t.id)`,
  "a worker is still enlisted": "select id from workers",

  "a task has not exactly one hold": `
    select id from tasks t where 1 <>
      (select count(*) from ledger l where l.task_id = t.id and l.kind = 'hold' and l.held = t.held)`,
  "a task has not exactly one release": `
    select id from tasks t where 1 <>
      (select count(*) from ledger l where l.task_id = t.id and l.kind = 'release')`,
  "what was captured and released is not what was held": `
    select task_id, sum(held) from ledger where task_id is not null group by task_id having sum(held) <> 0`,
  "an entry names no task": `
    select l.id from ledger l left join tasks t on t.id = l.task_id
    where l.task_id is not null and t.id is null`,
  "a task's charge is not the sum of its captures": `
    select t.id from tasks t where t.captured <>
      (select coalesce(-sum(held), 0) from ledger l where l.task_id = t.id and l.kind = 'capture')`,
  "a task was charged though it has no picture": `
    select id from tasks where captured > 0 and state <> 'completed'`,
  "a delivered picture was not captured once": `
    select o.task_id, o.slot from outputs o where 1 <>
      (select count(*) from ledger l where l.id = 'capture:' || o.task_id || ':' || o.slot)`,
  "a capture has no picture": `
    select l.id from ledger l where l.kind = 'capture' and not exists
      (select 1 from outputs o where l.id = 'capture:' || o.task_id || ':' || o.slot)`,
  "a slot is done without a picture, or has one and is not done": `
    select s.task_id, s.slot from slots s
    left join outputs o on o.task_id = s.task_id and o.slot = s.slot
    where (s.state = 'done') <> (o.slot is not null)`,
  "a balance is not the sum of its entries": `
    select b.account_id, b.mode from balances b
    left join (select account_id, mode, sum(available) as available, sum(held) as held
               from ledger group by account_id, mode) l
      on l.account_id = b.account_id and l.mode = b.mode
    where b.available <> coalesce(l.available, 0) or b.held <> coalesce(l.held, 0) or b.held <> 0`,
  "a key's usage is not the sum of its tasks": `
    select u.key_id from key_usage u where u.held <> 0 or u.in_flight <> 0 or u.captured <>
      (select coalesce(sum(captured), 0) from tasks t where t.key_id = u.key_id)`,

  "a slot was attempted twice": `
    select a.task_id, s.value, count(*) from attempts a, json_each(a.slots_json) s
    group by a.task_id, s.value having count(*) > 1`,
  "an attempt that no crash should fail has failed": `
    select id, state, failure_json from attempts where state <> 'done'`,
  "an idempotency key names no task": `
    select key from idempotency i where not exists (select 1 from tasks t where t.id = i.task_id)`,
  "a task is known under two keys": `
    select task_id from idempotency group by task_id having count(*) > 1`,
};

/** Audits a folder that no server runs on. */
export async function auditFolder(folder: string): Promise<Audit> {
  const stored = await listObjects(folder);
  const left = await findLeftovers(folder);
  const doctor = await askDoctor(folder);
  return inspect(folder, (database) => {
    const named = new Set(listColumn(database, objectsNamed));
    const lost = [...named].filter((object) => !stored.has(object));
    return {
      problems: [
        ...findOffences(database),
        ...checkIntegrity(database),
        ...(lost.length === 0 ? [] : [`${lost.length} rows name objects that are not stored`]),
        ...left,
        ...doctor,
      ],
      tasks: countRows(database, "tasks"),
      pictures: countRows(database, "outputs"),
      entries: countRows(database, "ledger"),
      orphans: [...stored].filter((object) => !named.has(object)).length,
    };
  });
}

/** Ids of the tasks whose prompt holds a mark, by the mark. */
export function findTasksByMark(folder: string, pattern: RegExp): Map<string, string[]> {
  return inspect(folder, (database) => {
    const rows = database.prepare("select id, request_json from tasks").all();
    return groupPairs(
      rows.map((row) => [pattern.exec(String(row["request_json"]))?.[0] ?? "", String(row["id"])]),
    );
  });
}

/** Task ids by idempotency key. */
export function loadKeys(folder: string): Map<string, string[]> {
  return inspect(folder, (database) => {
    const rows = database.prepare("select key, task_id from idempotency").all();
    return groupPairs(rows.map((row) => [String(row["key"]), String(row["task_id"])]));
  });
}

/** Tasks that have not ended. */
export function countQueued(folder: string): number {
  return inspect(folder, (database) => countRows(database, "queue"));
}

/** Tasks that have been claimed three times or more without a committed step. */
export function countSuspects(folder: string): number {
  return inspect(folder, (database) => {
    const query = "select count(*) as value from queue where claims >= 3";
    return Number(listColumn(database, query)[0]);
  });
}

/** Reads the database of a folder, beside a running server or without one. */
function inspect<T>(folder: string, work: (database: DatabaseSync) => T): T {
  const path = join(folder, "darkroom.db");
  const database = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
  try {
    return work(database);
  } finally {
    database.close();
  }
}

function groupPairs(pairs: readonly [string, string][]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const [name, value] of pairs) groups.set(name, [...(groups.get(name) ?? []), value]);
  return groups;
}

const objectsNamed = `
  select object as value from outputs
  union select object from "references"
  union select object from uploads`;

function findOffences(database: DatabaseSync): string[] {
  return Object.entries(offences).flatMap(([offence, query]) => {
    const rows = database.prepare(query).all();
    if (rows.length === 0) return [];
    return [`${offence}: ${rows.length} of them, ${JSON.stringify(rows.slice(0, 3))}`];
  });
}

function checkIntegrity(database: DatabaseSync): string[] {
  const [row] = database.prepare("pragma integrity_check(5)").all();
  const verdict = String(row?.["integrity_check"]);
  return verdict === "ok" ? [] : [`the database is damaged: ${verdict}`];
}

async function findLeftovers(folder: string): Promise<string[]> {
  const names = await readdir(join(folder, "objects", "tmp")).catch(() => []);
  return names.length === 0 ? [] : [`${names.length} temporary files are left`];
}

async function listObjects(folder: string): Promise<Set<string>> {
  const entries = await readdir(join(folder, "objects"), { recursive: true, withFileTypes: true });
  return new Set(entries.filter((entry) => entry.isFile()).map(({ name }) => name));
}

/** The server's own opinion, from the command that operators use. */
async function askDoctor(folder: string): Promise<string[]> {
  const told = (await runOperator(folder, ["doctor"])) as {
    ok: boolean;
    ledger: { ok: boolean; entries: number };
  };
  const isWell = told.ok && told.ledger.ok && told.ledger.entries > 0;
  return isWell ? [] : [`doctor finds: ${JSON.stringify(told)}`];
}

function countRows(database: DatabaseSync, table: string): number {
  return Number(listColumn(database, `select count(*) as value from ${table}`)[0]);
}

function listColumn(database: DatabaseSync, query: string): string[] {
  return database
    .prepare(query)
    .all()
    .map((row) => String(row["value"]));
}

/**
 * What must hold over the whole ledger, read back from the database. Every book equals the sum of its
 * entries; no book was ever below zero; a hold is resolved at most once, and what was captured and
 * released is what was held; a hold is open exactly while its task is; what a key has used is what its
 * entries say. The rest is refused on the way in: amounts by CHECK constraints, repeats by the primary
 * key, changes by triggers.
 *
 * It runs beside a working gateway. Each comparison is one statement, or counts only when it cannot be
 * the trace of a change under way; entries are read in pages, so that their number does not matter.
 */
import type { Database, Handle, Tx } from "../db/database.ts";
import type { LedgerRow } from "../db/schema.ts";
import { formatUsd } from "../lib/money.ts";
import type { Micros } from "../lib/money.ts";
import { minuteMs } from "../lib/time.ts";
import type { BookRef } from "./entries.ts";
import {
  selectAccountIds,
  selectBookSums,
  selectBooksWithoutBalance,
  selectHolds,
  selectKeySums,
  selectMoves,
  selectTaskSums,
} from "./check-store.ts";
import type { BookSums, EntryCursor, KeySums, TaskSums } from "./check-store.ts";

export type LedgerCheck = {
  ok: boolean;
  accounts: number;
  entries: number;
  /** One sentence each; at most a hundred. */
  problems: string[];
};

type Page = { after: string; limit: number };
type KeyUsage = { keyId: string; held: Micros; captured: Micros; inFlight: number };

/** The books of other rooms with which the ledger must agree. */
export type LedgerCheckDeps = {
  db: Database;
  /** Ids of the account's tasks that have not ended, in order of id, after `page.after`. */
  listOpenTaskIds(handle: Handle, accountId: string, page: Page): Promise<string[]>;
  /** What the account's keys have used, in order of key id, after `page.after`. */
  listUsages(handle: Handle, accountId: string, page: Page): Promise<KeyUsage[]>;
  /** The same for one key, locked against changes until the transaction ends; null without such a key. */
  findLockedUsage(tx: Tx, key: { accountId: string; keyId: string }): Promise<KeyUsage | null>;
};

const pageSize = 1_000;
const problemsMax = 100;
/**
 * Entries bear the clock of the node that wrote them, so their order in time is the order of commits only
 * to within this.
 */
const clockDisorderMs = minuteMs;

/** Checks the whole ledger; never throws for what it finds. */
export async function checkLedger(deps: LedgerCheckDeps): Promise<LedgerCheck> {
  const problems: string[] = [];
  let accounts = 0;
  let entries = 0;
  for await (const accountId of eachAccount(deps.db.read)) {
    accounts += 1;
    const books = await selectBookSums(deps.db.read, accountId);
    for (const book of books) {
      entries += book.entries;
      problems.push(...describeBook(accountId, book));
      problems.push(...(await checkHistory(deps.db.read, { accountId, mode: book.mode }, book)));
    }
    problems.push(...(await checkTasks(deps, accountId)), ...(await checkKeys(deps, accountId)));
    if (problems.length >= problemsMax) break;
  }
  for (const book of await selectBooksWithoutBalance(deps.db.read, problemsMax)) {
    problems.push(
      `account ${book.account_id} has ${book.mode} entries but no ${book.mode} balance`,
    );
  }
  return { ok: problems.length === 0, accounts, entries, problems: problems.slice(0, problemsMax) };
}

async function* eachAccount(handle: Handle): AsyncGenerator<string> {
  let after = "";
  for (;;) {
    const page = await selectAccountIds(handle, after, pageSize);
    for (const row of page) yield row.account_id;
    const last = page.at(-1);
    if (last === undefined) return;
    after = last.account_id;
  }
}

function describeBook(accountId: string, book: BookSums): string[] {
  const available = book.entered_available ?? 0;
  const held = book.entered_held ?? 0;
  if (book.available === available && book.held === held) return [];
  return [
    `account ${accountId} ${book.mode}: the balance says ${formatUsd(book.available)} USD available and ` +
      `${formatUsd(book.held)} held, the entries say ${formatUsd(available)} and ${formatUsd(held)}`,
  ];
}

/** Walks a book's entries in order of time: no amount below zero, and every id is what it must be. */
async function checkHistory(handle: Handle, book: BookRef, sums: BookSums): Promise<string[]> {
  const problems: string[] = [];
  const available = createBalanceWalk();
  const held = createBalanceWalk();
  // Not past the last entry of the start: a late commit near the end would be missed and look like a hole.
  const through = sums.last_at ?? 0;
  const holds = eachEntry((after) =>
    selectHolds(handle, book, { after, through, limit: pageSize }),
  );
  const moves = eachEntry((after) =>
    selectMoves(handle, book, { after, through, limit: pageSize }),
  );
  for await (const entry of inOrderOfTime(holds, moves)) {
    available.add(entry.available, entry.created_at);
    held.add(entry.held, entry.created_at);
    if (!hasDerivedId(entry)) problems.push(`entry ${entry.id} is not named after what it does`);
    if (problems.length >= problemsMax) break;
  }
  const where = `account ${book.accountId} ${book.mode}`;
  if (available.wasNegative()) problems.push(`${where}: more was held than was available`);
  if (held.wasNegative()) problems.push(`${where}: more was resolved than was held`);
  return problems;
}

async function* eachEntry(
  readPage: (after: EntryCursor) => Promise<LedgerRow[]>,
): AsyncGenerator<LedgerRow, undefined> {
  let after: EntryCursor = { created_at: Number.MIN_SAFE_INTEGER, id: "" };
  for (;;) {
    const page = await readPage(after);
    yield* page;
    const last = page.at(-1);
    if (last === undefined) return;
    after = { created_at: last.created_at, id: last.id };
  }
}

/** Two streams as one. At the same moment the holds come last: what they hold has to be there before them. */
async function* inOrderOfTime(
  holds: AsyncGenerator<LedgerRow, undefined>,
  moves: AsyncGenerator<LedgerRow, undefined>,
): AsyncGenerator<LedgerRow> {
  let hold = (await holds.next()).value;
  let move = (await moves.next()).value;
  while (hold !== undefined || move !== undefined) {
    if (move === undefined || (hold !== undefined && hold.created_at < move.created_at)) {
      if (hold !== undefined) yield hold;
      hold = (await holds.next()).value;
    } else {
      yield move;
      move = (await moves.next()).value;
    }
  }
}

type BalanceWalk = { add(amount: Micros, at: number): void; wasNegative(): boolean };

/** Follows a sum and remembers whether it stayed below zero for longer than clocks can explain. */
function createBalanceWalk(): BalanceWalk {
  let balance = 0;
  let negativeSince: number | null = null;
  let wasNegative = false;
  return {
    add: (amount, at) => {
      if (negativeSince !== null && at - negativeSince > clockDisorderMs) wasNegative = true;
      balance += amount;
      if (balance >= 0) negativeSince = null;
      else negativeSince ??= at;
    },
    wasNegative: () => wasNegative,
  };
}

function hasDerivedId(entry: LedgerRow): boolean {
  if (entry.kind === "credit") return entry.id.startsWith("credit:") && entry.task_id === null;
  const base = `${entry.kind}:${entry.task_id}`;
  return entry.kind === "capture" ? entry.id.startsWith(`${base}:`) : entry.id === base;
}

/**
 * Compares holds and tasks twice. A task's own change is one commit, so a difference that the second
 * walk sees again, when it reads the tasks before their holds, is no change under way.
 */
async function checkTasks(deps: LedgerCheckDeps, accountId: string): Promise<string[]> {
  const first = await compareTasks(deps, accountId);
  if (first.size === 0) return [];
  const second = await compareTasks(deps, accountId);
  return [...second].filter(([taskId]) => first.has(taskId)).map(([, problem]) => problem);
}

async function compareTasks(
  deps: LedgerCheckDeps,
  accountId: string,
): Promise<Map<string, string>> {
  const problems = new Map<string, string>();
  let after = "";
  for (;;) {
    const open = await deps.listOpenTaskIds(deps.db.read, accountId, { after, limit: pageSize });
    const through = open.length < pageSize ? null : (open.at(-1) ?? null);
    const unseen = new Set(open);
    for await (const task of eachTask(deps.db.read, accountId, { after, through })) {
      const problem = describeTask(task, unseen.delete(task.task_id));
      if (problem !== null) problems.set(task.task_id, `task ${task.task_id} ${problem}`);
    }
    for (const id of unseen) problems.set(id, `task ${id} is open and has no entry in the ledger`);
    if (through === null || problems.size >= problemsMax) return problems;
    after = through;
  }
}

async function* eachTask(
  handle: Handle,
  accountId: string,
  range: { after: string; through: string | null },
): AsyncGenerator<TaskSums> {
  let after = range.after;
  for (;;) {
    const page = await selectTaskSums(handle, accountId, { ...range, after, limit: pageSize });
    yield* page.sums;
    if (page.through === range.through) return;
    after = page.through ?? "";
  }
}

/** What is wrong with the entries of one task, or null. */
function describeTask(task: TaskSums, isOpen: boolean): string | null {
  if (task.holds !== 1) return `has ${task.holds} holds`;
  if (task.first_mode !== task.last_mode) return "has entries in both books";
  if (task.first_key === null || task.first_key !== task.last_key) return "has entries of two keys";
  if (task.releases === 0 && task.captures > 0) return "has captures but its hold is not resolved";
  if (task.releases > 0 && task.held !== 0) {
    return `was resolved with ${formatUsd(task.held)} USD of its hold left over`;
  }
  if (isOpen && task.releases > 0) return "is open but its hold is resolved";
  if (!isOpen && task.releases === 0) return "has ended but its hold is not resolved";
  return null;
}

async function checkKeys(deps: LedgerCheckDeps, accountId: string): Promise<string[]> {
  const problems: string[] = [];
  let after = "";
  for (;;) {
    const usages = await deps.listUsages(deps.db.read, accountId, { after, limit: pageSize });
    const through = usages.length < pageSize ? null : (usages.at(-1)?.keyId ?? null);
    const sums = await selectKeySums(deps.db.read, accountId, { after, through });
    for (const keyId of findDifferentKeys(usages, sums)) {
      problems.push(...(await checkKey(deps, { accountId, keyId })));
    }
    if (through === null || problems.length >= problemsMax) return problems;
    after = through;
  }
}

function findDifferentKeys(usages: readonly KeyUsage[], sums: readonly KeySums[]): string[] {
  const byKey = new Map(sums.map((row) => [row.key_id, toUsage(row)]));
  const different = usages.filter((usage) => !isSameUsage(usage, byKey.get(usage.keyId)));
  const known = new Set(usages.map((usage) => usage.keyId));
  const unknown = sums.filter((row) => !known.has(row.key_id));
  return [...different.map((usage) => usage.keyId), ...unknown.map((row) => row.key_id)];
}

/** Whoever moves money of a key locks its usage first, so under that lock both sides stand still. */
function checkKey(
  deps: LedgerCheckDeps,
  key: { accountId: string; keyId: string },
): Promise<string[]> {
  return deps.db.transaction(async (tx) => {
    const usage = await deps.findLockedUsage(tx, key);
    if (usage === null)
      return [`key ${key.keyId} of account ${key.accountId} has entries but no usage`];
    const [sums] = await selectKeySums(tx, key.accountId, { only: key.keyId });
    const entered = toUsage(sums ?? null);
    if (isSameUsage(usage, entered)) return [];
    return [`key ${key.keyId}: its usage says ${show(usage)}, its entries say ${show(entered)}`];
  });
}

type Usage = Omit<KeyUsage, "keyId">;

function toUsage(row: KeySums | null): Usage {
  return { held: row?.held ?? 0, captured: row?.captured ?? 0, inFlight: row?.in_flight ?? 0 };
}

function isSameUsage(a: Usage, b: Usage = toUsage(null)): boolean {
  return a.held === b.held && a.captured === b.captured && a.inFlight === b.inFlight;
}

function show(usage: Usage): string {
  return (
    `${formatUsd(usage.held)} USD held, ${formatUsd(usage.captured)} captured ` +
    `and ${usage.inFlight} tasks in flight`
  );
}

import { LRUCache } from "lru-cache";

import type { Database } from "../db/database.ts";
import type { Mode } from "../db/schema.ts";
import type { Promised } from "../lib/promised.ts";
import type { Clock } from "../lib/time.ts";
import type { Language } from "../models/model.ts";
import { renderTask } from "./render.ts";
import type { RenderDeps } from "./render.ts";
import { findViewRow } from "./store.ts";
import type { Watch } from "./watch.ts";

export type ReadDeps = RenderDeps & {
  db: Database;
  clock: Clock;
  watch: Watch;
  /** How long an ended task can be read, in milliseconds. */
  retentionMs: number;
};

export type ReadInput = { accountId: string; mode: Mode; taskId: string; language: Language };

/**
 * A task's wire object as JSON text. `ended` promises that it will never read differently; `revision`
 * grows with every change that can be seen.
 */
export type TaskText = { json: string; ended: boolean; revision: number };

/** Null for an unknown task, and for one of another account or mode. At once when the text is kept ready. */
export type ReadTask = (input: ReadInput) => Promised<TaskText | null>;

/** Text that is kept ready, in characters: tasks are polled far more often than they change. */
const cacheCharactersMax = 16 * 2 ** 20;
/**
 * A change made by this process drops the text at once; one that another process makes is seen after
 * this long at the latest. The text of an ended task never changes.
 */
const openTextMs = 1_000;

/** `until` is when the text must be made anew, or, for an ended task, when the task is no longer kept. */
type Kept = { text: TaskText; until: number };

/** The texts of one task, for those who may see it. */
type Texts = { accountId: string; mode: Mode; kept: ReadonlyMap<Language, Kept> };

export function createReader(deps: ReadDeps): ReadTask {
  const texts = new LRUCache<string, Texts>({
    maxSize: cacheCharactersMax,
    sizeCalculation: ({ kept }) =>
      [...kept.values()].reduce((sum, { text }) => sum + text.json.length, 1),
  });
  // A text that was read before a change must not be kept after it.
  let changes = 0;
  deps.watch.onAnyChange((taskId) => {
    changes += 1;
    texts.delete(taskId);
  });

  async function readAnew(input: ReadInput): Promise<TaskText | null> {
    const seen = changes;
    const now = deps.clock.now();
    const loaded = await loadText(deps, input);
    if (loaded === null || loaded.until <= now) return null;
    if (seen === changes) {
      const { taskId, accountId, mode, language } = input;
      const kept = new Map(texts.get(taskId)?.kept).set(language, loaded);
      texts.set(taskId, { accountId, mode, kept });
    }
    return loaded.text;
  }

  return (input) => {
    const known = texts.get(input.taskId);
    const isTheirs = known?.accountId === input.accountId && known.mode === input.mode;
    const kept = isTheirs ? known.kept.get(input.language) : undefined;
    return kept !== undefined && kept.until > deps.clock.now() ? kept.text : readAnew(input);
  };
}

async function loadText(deps: ReadDeps, input: ReadInput): Promise<Kept | null> {
  const { db } = deps;
  const { accountId, taskId, mode, language } = input;
  const row = await findViewRow(db.read, accountId, taskId);
  if (row === null || row.mode !== mode) return null;
  const json = await renderTask(db.read, deps, { accountId, row, language });
  // An end that a power loss could still undo is not shown.
  if (row.ended_at !== null) await db.durable();
  const until =
    row.ended_at === null ? deps.clock.now() + openTextMs : row.ended_at + deps.retentionMs;
  const ended = row.ended_at !== null;
  return { text: { json, ended, revision: row.revision }, until };
}

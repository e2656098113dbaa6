import { LRUCache } from "lru-cache";

import type { Database } from "../db/database.ts";
import type { Mode, OutputRow } from "../db/schema.ts";
import { loadOutputs } from "../images/store.ts";
import type { Clock } from "../lib/time.ts";
import type { Catalogue } from "../models/catalogue.ts";
import type { Language } from "../models/model.ts";
import { extensionOf } from "../storage/names.ts";
import type { Links } from "../storage/links.ts";
import { loadSlots } from "./slot-store.ts";
import { findViewRow } from "./store.ts";
import { presentTask } from "./view.ts";
import type { Watch } from "./watch.ts";

export type ReadDeps = {
  db: Database;
  catalogue: Catalogue;
  links: Links;
  clock: Clock;
  watch: Watch;
  /** How long an ended task can be read, in milliseconds. */
  retentionMs: number;
  /** Where callers reach this server; no slash at the end. */
  publicUrl(): string;
};

export type ReadInput = { accountId: string; mode: Mode; taskId: string; language: Language };

/** A task's wire object as JSON text. `ended` promises that it will never read differently. */
export type TaskText = { json: string; ended: boolean };

/** Null for an unknown task, and for one of another account or mode. */
export type ReadTask = (input: ReadInput) => Promise<TaskText | null>;

/** Text that is kept ready, in characters: tasks are polled far more often than they change. */
const cacheCharactersMax = 16 * 2 ** 20;
/**
 * A change made by this process drops the text at once; one that another process makes is seen after
 * this long at the latest. The text of an ended task never changes.
 */
const openTextMs = 1_000;

/** A model that the operator has removed since; its tasks are still readable. */
const estimateUnknownSeconds = 60;

/** `until` is when the text must be made anew, or, for an ended task, when the task is no longer kept. */
type Kept = { text: TaskText; until: number };

export function createReader(deps: ReadDeps): ReadTask {
  const texts = new LRUCache<string, Map<string, Kept>>({
    maxSize: cacheCharactersMax,
    sizeCalculation: (kept) =>
      [...kept.values()].reduce((sum, { text }) => sum + text.json.length, 1),
  });
  // A text that was read before a change must not be kept after it.
  let changes = 0;
  deps.watch.onAnyChange((taskId) => {
    changes += 1;
    texts.delete(taskId);
  });
  return async (input) => {
    const key = `${input.mode} ${input.accountId} ${input.language}`;
    const known = texts.get(input.taskId)?.get(key);
    const now = deps.clock.now();
    if (known !== undefined && known.until > now) return known.text;
    const seen = changes;
    const kept = await renderTask(deps, input);
    if (kept === null || kept.until <= now) return null;
    if (seen === changes) {
      texts.set(input.taskId, new Map(texts.get(input.taskId)).set(key, kept));
    }
    return kept.text;
  };
}

async function renderTask(deps: ReadDeps, input: ReadInput): Promise<Kept | null> {
  const { db, catalogue } = deps;
  const { accountId, taskId, mode, language } = input;
  const row = await findViewRow(db.read, accountId, taskId);
  if (row === null || row.mode !== mode) return null;
  const completed = row.state === "completed";
  const outputs = completed ? await loadOutputs(db.read, accountId, taskId) : [];
  const isPartial = completed && outputs.length < row.pictures;
  const slots = isPartial ? await loadSlots(db.read, accountId, taskId) : [];
  // An end that a power loss could still undo is not shown.
  if (row.ended_at !== null) await db.durable();
  const view = presentTask({
    row,
    outputs,
    slots,
    language,
    estimatedSeconds: catalogue.find(row.model)?.estimatedSeconds ?? estimateUnknownSeconds,
    linkTo: (output, expiresAtMs) => linkTo(deps, output, expiresAtMs),
  });
  const until =
    row.ended_at === null ? deps.clock.now() + openTextMs : row.ended_at + deps.retentionMs;
  return { text: { json: JSON.stringify(view), ended: row.ended_at !== null }, until };
}

function linkTo({ links, publicUrl }: ReadDeps, output: OutputRow, expiresAtMs: number): string {
  return `${publicUrl()}${links.sign(output.object, extensionOf(output.content_type), expiresAtMs)}`;
}

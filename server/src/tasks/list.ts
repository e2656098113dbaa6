import type { Database } from "../db/database.ts";
import type { Mode, TaskState } from "../db/schema.ts";
import { lowestId } from "../lib/ids.ts";
import { minuteMs } from "../lib/time.ts";
import type { Language } from "../models/model.ts";
import { findScanEnd, selectTaskIds } from "./list-store.ts";
import type { TaskFilter } from "./list-store.ts";
import type { ReadTask } from "./read.ts";

export type ListDeps = {
  db: Pick<Database, "read">;
  readTask: ReadTask;
  /** Tasks that one page looks through at most. */
  scanMax?: number;
};

export type ListInput = {
  accountId: string;
  mode: Mode;
  language: Language;
  /** Most tasks on the page. */
  limit: number;
  /** Id of a task: the page begins with the next older one. */
  after?: string;
  state?: TaskState;
  model?: string;
  /** Id of a key. */
  submittedBy?: string;
  /** Unix milliseconds, the first inclusive, the second not. */
  createdFrom?: number;
  createdBefore?: number;
};

export type TaskPage = {
  /** The tasks as JSON texts, newest first. */
  tasks: readonly string[];
  /** A page can be short, and even empty, while there is more. */
  hasMore: boolean;
  /** Where the next page begins; null when nothing was looked through. */
  lastId: string | null;
};

export type ListTasks = (input: ListInput) => Promise<TaskPage>;

/**
 * A filter that matches little must not make one request read a whole account: a page looks through
 * this many tasks, and says where it stopped.
 */
const scanMaxDefault = 2_000;
/** A task's id is made before its row, and its time is the row's: between them lies a moment. */
const idLeadMs = minuteMs;
/** Unix milliseconds in the year 9999. */
const endOfTime = 253_402_300_799_999;

export function createLister({ db, readTask, scanMax = scanMaxDefault }: ListDeps): ListTasks {
  return async (input) => {
    const filter = toFilter(input);
    const scanEnd = await findScanEnd(db.read, filter, scanMax);
    const scanned = scanEnd === null ? filter : { ...filter, from: scanEnd };
    const ids = await selectTaskIds(db.read, scanned, input.limit + 1);
    const shown = ids.slice(0, input.limit);
    const hasMore = ids.length > shown.length || scanEnd !== null;
    const lastId = ids.length > shown.length ? (shown.at(-1) ?? null) : (scanEnd ?? shown.at(-1));
    return { tasks: await readAll(readTask, input, shown), hasMore, lastId: lastId ?? null };
  };
}

/** What each id reads as, null where `readTask` has nothing; read together, from the texts kept ready. */
export function readMany(
  readTask: ReadTask,
  reader: Pick<ListInput, "accountId" | "mode" | "language">,
  ids: readonly string[],
) {
  const { accountId, mode, language } = reader;
  return Promise.all(ids.map(async (taskId) => readTask({ accountId, mode, taskId, language })));
}

async function readAll(
  readTask: ReadTask,
  input: ListInput,
  ids: readonly string[],
): Promise<string[]> {
  const texts = await readMany(readTask, input, ids);
  // A task that is no longer kept may still have its row.
  return texts.flatMap((text) => (text === null ? [] : text.json));
}

function toFilter(input: ListInput): TaskFilter {
  const { accountId, mode, after, state, model, submittedBy } = input;
  const { createdFrom = 0, createdBefore = endOfTime } = input;
  const end = lowestId("task", Math.min(endOfTime, createdBefore + idLeadMs));
  return {
    accountId,
    mode,
    from: lowestId("task", Math.max(0, createdFrom - idLeadMs)),
    before: after === undefined || after > end ? end : after,
    createdFrom,
    createdBefore,
    ...(state === undefined ? {} : { state }),
    ...(model === undefined ? {} : { model }),
    ...(submittedBy === undefined ? {} : { submittedBy }),
  };
}

/** What the end of a task puts in the outbox of webhooks, in the transaction that ends it. */
import type { Tx } from "../db/database.ts";
import type { WebhookEventType } from "../db/webhook-rows.ts";
import { assert, must } from "../lib/errors.ts";
import type { Ids } from "../lib/ids.ts";
import { listEnabledEndpoints } from "../webhooks/endpoint-store.ts";
import { insertEvent } from "../webhooks/event-store.ts";
import { wantsEvent } from "../webhooks/event-types.ts";
import type { Outcome } from "./outcome.ts";
import { renderTask } from "./render.ts";
import type { RenderDeps } from "./render.ts";
import { findViewRow } from "./store.ts";
import type { Task } from "./task.ts";
import type { Watch } from "./watch.ts";

export type TaskEvents = {
  /**
   * Writes the event of a task that has just ended in `tx`, when anybody is to be told of it. Costs one
   * indexed read when nobody is.
   */
  recordEnd(tx: Tx, ended: EndedTask): Promise<void>;
};

export type EndedTask = {
  task: Pick<Task, "accountId" | "id" | "mode" | "webhook" | "language">;
  state: Outcome["state"];
  now: number;
};

export type TaskEventsDeps = RenderDeps & {
  ids: Ids;
  watch: Watch;
  /** Called when an event may have been committed. */
  nudge(): void;
};

/** Ends that were written and not yet told of; those that were rolled back stay until there are many. */
const recordedMax = 10_000;

export function createTaskEvents(deps: TaskEventsDeps): TaskEvents {
  const recorded = new Set<string>();
  deps.watch.onAnyChange((taskId) => {
    if (recorded.delete(taskId)) deps.nudge();
  });
  return {
    recordEnd: async (tx, ended) => {
      if (!(await recordEnd(tx, deps, ended))) return;
      if (recorded.size >= recordedMax) recorded.clear();
      recorded.add(ended.task.id);
    },
  };
}

async function recordEnd(
  tx: Tx,
  deps: TaskEventsDeps,
  { task, state, now }: EndedTask,
): Promise<boolean> {
  const { accountId, id, mode, language } = task;
  const type: WebhookEventType = `task.${state}`;
  // An address that a submit names hears of pictures and failures, as its contract says.
  const webhook = state === "cancelled" ? null : task.webhook;
  if (webhook === null) {
    const endpoints = await listEnabledEndpoints(tx, { accountId, mode });
    if (!endpoints.some((endpoint) => wantsEvent(endpoint, type))) return false;
  }
  const row = must(await findViewRow(tx, accountId, id), `task ${id}`);
  assert(row.state === state, `${id} reads as it has just ended`);
  await insertEvent(tx, {
    account_id: accountId,
    id: deps.ids("event"),
    mode,
    type,
    task_id: id,
    webhook,
    body: await renderTask(tx, deps, { accountId, row, language: language ?? "en" }),
    created_at: now,
    expanded_at: null,
  });
  return true;
}

/** What must be true of every order once the run is over: four logs, kept by four parties, must agree. Pure. */
import type { Task } from "../../../client/src/tasks.ts";
import type { Order } from "../crash/orders.ts";
import type { BookedTask } from "./books.ts";

/** One call of a vendor that made pictures, and is paid for. */
export type BilledWork = { mark: string; pictures: number };
/** One request that the receiver of webhooks has read. */
export type Told = { mark: string; webhookId: string; body: string };

export type Evidence = {
  orders: readonly Order[];
  books: readonly BookedTask[];
  billed: readonly BilledWork[];
  told: readonly Told[];
};

export type Counts = {
  accepted: number;
  lost: number;
  billedTwice: number;
  paidTwice: number;
  late: number;
  webhooksMissing: number;
  pictures: number;
  /** Pictures that a vendor was paid for and nobody got: what at-most-once costs. */
  wasted: number;
  unknownAttempts: number;
  ends: Readonly<Record<string, number>>;
};

const lateAfterMs = 60_000;
/** Ends that faults explain; `internal_error` would be a fault of ours. */
const excused = new Set(["outcome_unknown", "provider_unavailable", "generation_timeout"]);

export function judge(evidence: Evidence): { problems: string[]; counts: Counts } {
  const booked = groupBy(evidence.books, ({ mark }) => mark);
  const billed = groupBy(evidence.billed, ({ mark }) => mark);
  const told = groupBy(evidence.told, ({ mark }) => mark);
  const problems: string[] = [];
  const counts = { lost: 0, billedTwice: 0, paidTwice: 0, late: 0, webhooksMissing: 0 };
  const ends: Record<string, number> = {};
  const find = (name: keyof typeof counts, problem: string): void => {
    counts[name] += 1;
    problems.push(problem);
  };
  for (const order of evidence.orders) {
    const { mark, taskId, key } = order;
    const tasks = booked.get(mark) ?? [];
    if (tasks.length > 1) find("billedTwice", `${mark} has made ${tasks.length} tasks`);
    if (taskId === null && key !== null) problems.push(`${mark} was never acknowledged`);
    const task = tasks.find(({ id }) => id === taskId) ?? null;
    if (taskId !== null && task === null) find("lost", `${mark}: ${taskId} is lost`);
    if (task !== null) problems.push(...compareWithCaller(order, task, ends));
  }
  for (const task of evidence.books) {
    const name = `${task.mark} ${task.id}`;
    const paid = sum((billed.get(task.mark) ?? []).map(({ pictures }) => pictures));
    if (paid > task.pictures) {
      find("paidTwice", `${name}: ${task.pictures} pictures were paid for ${paid} times`);
    }
    if (paid < task.outputs) problems.push(`${name}: ${task.outputs} pictures of ${paid} made`);
    if (task.captures !== task.outputs) {
      find("billedTwice", `${name}: ${task.outputs} pictures, ${task.captures} charges`);
    }
    if (task.endedAt === null || task.endedAt > task.deadlineAt + lateAfterMs) {
      find("late", `${name} has not ended in time: ${task.endedAt}`);
    }
    const heard = checkTold(task, told.get(task.mark) ?? []);
    if (heard !== null) find("webhooksMissing", `${name}: ${heard}`);
  }
  const paid = sum(evidence.billed.map(({ pictures }) => pictures));
  const delivered = sum(evidence.books.map(({ outputs }) => outputs));
  return {
    problems,
    counts: {
      ...counts,
      accepted: evidence.orders.filter(({ taskId }) => taskId !== null).length,
      pictures: delivered,
      wasted: paid - delivered,
      unknownAttempts: sum(evidence.books.map(({ attempts }) => attempts["unknown"] ?? 0)),
      ends,
    },
  };
}

/** What the caller was last told, against the row; counts how it ended. */
function compareWithCaller(
  { mark, ended, cancels, body }: Order,
  booked: BookedTask,
  ends: Record<string, number>,
): string[] {
  if (ended === null) return [`${mark} has not ended for its caller`];
  const { data: task } = JSON.parse(`{"code":200${ended}`) as { data: Task };
  const code = task.error?.code;
  const end = code === undefined ? task.status : `${task.status}: ${code}`;
  ends[end] = (ends[end] ?? 0) + 1;
  const problems: string[] = [];
  const shown = task.result?.images.length ?? 0;
  const failures = (task.result?.errors ?? []).map((error) => error.code);
  const codes = [...failures, ...(code === undefined || code === "cancelled" ? [] : [code])];
  const wrong = codes.filter((one) => !excused.has(one) && !(one === "cancelled" && cancels > 0));
  if (wrong.length > 0) problems.push(`${mark} failed as ${wrong.join(", ")}: ${booked.failures}`);
  if (task.status !== booked.state)
    problems.push(`${mark} is ${booked.state}, told ${task.status}`);
  if (shown !== booked.outputs) problems.push(`${mark} shows ${shown} of ${booked.outputs}`);
  if (task.status === "cancelled" && cancels === 0) problems.push(`${mark} was never cancelled`);
  if (task.status === "completed" && shown + failures.length !== (body["n"] ?? 1)) {
    problems.push(`${mark} shows ${shown} pictures and ${failures.length} errors`);
  }
  const cost = Math.round((task.cost ?? 0) * 1e6);
  if (cost !== booked.captured) problems.push(`${mark} costs ${cost}, charged ${booked.captured}`);
  return problems;
}

/** At least once, always the same body, and of the task as it ended; null when it was so. */
function checkTold(task: BookedTask, told: readonly Told[]): string | null {
  if (task.state === "cancelled") {
    return told.length === 0 ? null : "a cancelled task was told of";
  }
  const [first] = told;
  if (first === undefined) return `its webhook never arrived (${task.state})`;
  const others = told.filter(
    ({ body, webhookId }) => body !== first.body || webhookId !== first.webhookId,
  );
  if (others.length > 0) return `${others.length} of ${told.length} webhooks differ`;
  const { id, status } = JSON.parse(first.body) as { id?: string; status?: string };
  if (id === task.id && status === task.state) return null;
  return `its webhook tells of ${id} ${status}, and it is ${task.state}`;
}

function groupBy<T>(list: readonly T[], nameOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of list) {
    const group = groups.get(nameOf(one));
    if (group === undefined) groups.set(nameOf(one), [one]);
    else group.push(one);
  }
  return groups;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

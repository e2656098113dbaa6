/** What a task must have come to, from what was committed when its server was killed. Pure. */
import type { Task } from "../../../client/src/tasks.ts";
import type { BookedTask } from "./books.ts";
import type { VendorLog } from "./vendors.ts";

export type Case = {
  scenario: { tasks: number; pictures: number };
  isSafe: boolean;
  /** The passage that the server died at. */
  place: string;
  atDeath: readonly BookedTask[];
  after: readonly BookedTask[];
  /** As their caller sees them in the end. */
  tasks: readonly Task[];
  log: VendorLog;
};

/** One sentence for each promise that was broken. */
export function findProblems({
  scenario,
  isSafe,
  place,
  atDeath,
  after,
  tasks,
  log,
}: Case): readonly string[] {
  const problems: string[] = [];
  const known = atDeath.flatMap(({ attempts }) => attempts);
  if (place.includes("POST ") && known.length === 0) {
    problems.push("work was submitted before its attempt was committed");
  }
  // Nothing but work that a handle stands for is asked about or fetched.
  if (place.includes("GET ") && !known.some(({ hasHandle }) => hasHandle)) {
    problems.push("work was polled before its handle was committed");
  }
  const pictures = scenario.tasks * scenario.pictures;
  if (after.length !== scenario.tasks) {
    problems.push(`${scenario.tasks} submits have made ${after.length} tasks`);
  }
  for (const booked of after) {
    const before = atDeath.find(({ id }) => id === booked.id) ?? null;
    const wanted = slotsWanted(before, { pictures: scenario.pictures, isSafe });
    const task = tasks.find(({ id }) => id === booked.id) ?? null;
    problems.push(...compareTask(booked, task, wanted));
  }
  const submitted = new Set(after.flatMap(({ id, attempts }) => attempts.map((_, at) => id + at)));
  // A submit that was never sent leaves an attempt too; none may have been sent twice.
  if (log.submits > submitted.size) {
    problems.push(`${submitted.size} attempts were submitted ${log.submits} times`);
  }
  if (log.billed > pictures)
    problems.push(`${pictures} pictures were paid for ${log.billed} times`);
  const delivered = after.flatMap(({ slots }) => slots).filter((slot) => slot === "done").length;
  if (log.billed < delivered) problems.push(`${delivered} pictures of ${log.billed} made`);
  return problems;
}

/**
 * An attempt with a handle is asked for, one that may be sent again is, and of any other that was under way
 * nobody knows what became of it. What had not begun is begun.
 */
function slotsWanted(
  before: BookedTask | null,
  { pictures, isSafe }: { pictures: number; isSafe: boolean },
): readonly string[] {
  return Array.from({ length: pictures }, (_, slot) => {
    const attempt = before?.attempts.findLast(({ slots }) => slots.includes(slot));
    const isLost = attempt?.state === "sent" && !attempt.hasHandle && !isSafe;
    return isLost ? "outcome_unknown" : "done";
  });
}

function compareTask(booked: BookedTask, task: Task | null, wanted: readonly string[]): string[] {
  const problems: string[] = [];
  const expect = (what: string, seen: unknown, right: unknown): void => {
    const [left, other] = [JSON.stringify(seen), JSON.stringify(right)];
    if (left !== other) problems.push(`${what} is ${left} and should be ${other}`);
  };
  const done = wanted.filter((slot) => slot === "done").length;
  expect("the slots", booked.slots, wanted);
  expect("the state", booked.state, done > 0 ? "completed" : "failed");
  expect("the number of captures", booked.captures, done);
  expect("the status that the caller sees", task?.status, booked.state);
  expect("the number of pictures", task?.result?.images.length ?? 0, done);
  if (done === 0) expect("the task error", task?.error?.code, "outcome_unknown");
  expect("whether it is charged", (task?.cost ?? 0) > 0, done > 0);
  for (const { slots, state, cost } of booked.attempts) {
    const isDone = slots.every((slot) => wanted[slot] === "done");
    expect("the attempt", state, isDone ? "done" : "unknown");
    expect("the fate of its cost", cost?.fate, isDone ? "delivered" : "wasted");
  }
  const attempted = booked.attempts.flatMap(({ slots }) => slots).toSorted((a, b) => a - b);
  expect(
    "the slots attempted",
    attempted,
    wanted.map((_, slot) => slot),
  );
  return problems;
}

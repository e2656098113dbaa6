/**
 * What to do next for a task, from its rows alone: a run that was interrupted anywhere continues from
 * the same plan as one that was not.
 */
import type { Choice, Route } from "../channels/route.ts";
import type { Attempt } from "./task.ts";
import { triesMax, turnedAwayMax } from "./failure.ts";

export type Step =
  /** An attempt is under way: ask for it, or send it again where that is safe. */
  | { do: "resume"; attempt: Attempt }
  /** Nothing is under way for these slots, and this is where they go. */
  | { do: "start"; slots: readonly number[]; route: Route }
  /** Every channel worth asking has just refused, or is busy; the earliest time to ask one of them. */
  | { do: "wait"; slots: readonly number[]; until: number }
  /** No try is left; `attempt` is the last one, null when no channel was there to be asked. */
  | { do: "give_up"; slots: readonly number[]; attempt: Attempt | null };

export type PlanInput = {
  openSlots: readonly number[];
  attempts: readonly Attempt[];
  /** Slots that this run is at work on already: nothing is planned for them. */
  busy: ReadonlySet<number>;
  now: number;
  /** The channel outside `tried`; `hasFailed` once one has certainly failed at the standard tier. */
  choose(tried: readonly string[], hasFailed: boolean): Choice;
};

/** One step for every group of open slots that share the same history. */
export function planTask(input: PlanInput): Step[] {
  const live = input.attempts.filter(({ state }) => state === "sent" || state === "running");
  const resumes = live
    .filter(({ slots }) => !slots.some((slot) => input.busy.has(slot)))
    .map((attempt): Step => ({ do: "resume", attempt }));
  const taken = new Set([...input.busy, ...live.flatMap(({ slots }) => slots)]);
  const free = input.openSlots.filter((slot) => !taken.has(slot));
  return [
    ...resumes,
    ...groupByHistory(free, input.attempts).map((group) => planGroup(group, input)),
  ];
}

type Group = { slots: number[]; history: readonly Attempt[] };

function groupByHistory(slots: readonly number[], attempts: readonly Attempt[]): Group[] {
  const groups = new Map<string, Group>();
  for (const slot of slots) {
    const history = attempts.filter((attempt) => attempt.slots.includes(slot));
    const key = history.map(({ id }) => id).join();
    const group = groups.get(key) ?? { slots: [], history };
    group.slots.push(slot);
    groups.set(key, group);
  }
  return [...groups.values()];
}

function planGroup({ slots, history }: Group, input: PlanInput): Step {
  const last = history.at(-1) ?? null;
  if (isExhausted(history)) return { do: "give_up", slots, attempt: last };

  const hasFailed = history.some(isStandardFailure);
  const tried = [...new Set(history.map(({ channel }) => channel))];
  const other = input.choose(tried, hasFailed);
  if (other.kind === "route") return { do: "start", slots, route: other };

  // Nobody else is free: those that may be asked again are, each at its time.
  const excluded = tried.filter((channel) =>
    history.some(
      (attempt) => attempt.channel === channel && attempt.failure?.again === "elsewhere",
    ),
  );
  const again = input.choose(excluded, hasFailed);
  if (again.kind === "none") return { do: "give_up", slots, attempt: last };
  const early = retryTimes(history).filter(
    ({ channel, retryAt }) => retryAt > input.now && !excluded.includes(channel),
  );
  const due = input.choose([...excluded, ...early.map(({ channel }) => channel)], hasFailed);
  if (due.kind === "route") return { do: "start", slots, route: due };

  const times = early.map(({ retryAt }) => retryAt);
  for (const choice of [other, due]) if (choice.kind === "busy") times.push(choice.until);
  return { do: "wait", slots, until: Math.min(...times) };
}

function isExhausted(history: readonly Attempt[]): boolean {
  const turnedAway = history.filter(({ failure }) => failure?.kind === "rate_limited").length;
  return turnedAway >= turnedAwayMax || history.length - turnedAway >= triesMax;
}

function isStandardFailure({ tier, state, failure }: Attempt): boolean {
  return tier === "standard" && state !== "unknown" && failure !== null;
}

/** For each channel the time before which it is not to be asked again. */
function retryTimes(history: readonly Attempt[]): { channel: string; retryAt: number }[] {
  const times = new Map<string, number>();
  for (const { channel, failure } of history) times.set(channel, failure?.retryAt ?? 0);
  return [...times].map(([channel, retryAt]) => ({ channel, retryAt }));
}

/**
 * What to do next for a task, from its rows alone: a run that was interrupted anywhere continues from
 * the same plan as one that was not.
 */
import type { Attempt } from "./task.ts";
import { triesMax } from "./failure.ts";

export type Step =
  /** An attempt is under way: ask for it, or send it again where that is safe. */
  | { do: "resume"; attempt: Attempt }
  /** Nothing is under way for these slots: start attempts on a channel outside `tried`. */
  | { do: "start"; slots: readonly number[]; tried: readonly string[] }
  /** Every channel worth asking has just refused; the earliest time to ask one of them again. */
  | { do: "wait"; slots: readonly number[]; until: number }
  /** No try is left. */
  | { do: "give_up"; slots: readonly number[]; attempt: Attempt };

export type PlanInput = {
  openSlots: readonly number[];
  attempts: readonly Attempt[];
  /** Slots that this run is at work on already: nothing is planned for them. */
  busy: ReadonlySet<number>;
  now: number;
  /** True when a channel outside `tried` could take the slot. */
  hasOther(tried: readonly string[]): boolean;
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
  const last = history.at(-1);
  if (last === undefined) return { do: "start", slots, tried: [] };
  if (history.length >= triesMax) return { do: "give_up", slots, attempt: last };

  const tried = [...new Set(history.map(({ channel }) => channel))];
  if (input.hasOther(tried)) return { do: "start", slots, tried };

  const excluded = tried.filter((channel) =>
    history.some(
      (attempt) => attempt.channel === channel && attempt.failure?.again === "elsewhere",
    ),
  );
  if (!input.hasOther(excluded)) return { do: "give_up", slots, attempt: last };

  const early = retryTimes(history).filter(
    ({ channel, retryAt }) => retryAt > input.now && !excluded.includes(channel),
  );
  const avoided = [...excluded, ...early.map(({ channel }) => channel)];
  if (input.hasOther(avoided)) return { do: "start", slots, tried: avoided };
  return { do: "wait", slots, until: Math.min(...early.map(({ retryAt }) => retryAt)) };
}

/** For each channel the time before which it is not to be asked again. */
function retryTimes(history: readonly Attempt[]): { channel: string; retryAt: number }[] {
  const times = new Map<string, number>();
  for (const { channel, failure } of history) times.set(channel, failure?.retryAt ?? 0);
  return [...times].map(([channel, retryAt]) => ({ channel, retryAt }));
}

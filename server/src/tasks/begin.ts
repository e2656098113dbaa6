/** The beginning of attempts: a permit of the breaker, a place of the channel, and the commit before the first byte. */
import type { Permit } from "../channels/breaker.ts";
import type { Channel } from "../channels/channel.ts";
import { isCapped, takePlaces } from "../channels/load.ts";
import type { Route } from "../channels/route.ts";
import { insertAttempts } from "./attempt-store.ts";
import { commitStep } from "./engine.ts";
import type { EngineDeps, Run } from "./engine.ts";
import { startTask } from "./store.ts";
import type { Attempt } from "./task.ts";

/** An attempt that is committed as sent, and whose call is to be made now. */
export type Begun = { attempt: Attempt; channel: Channel; permit: Permit };

/**
 * Commits attempts as sent, each for as many slots as the upstream makes in one call: as many as the
 * breaker and the channel's places allow, perhaps none. None after a cancellation.
 */
export async function beginAttempts(
  deps: EngineDeps,
  run: Run,
  route: Route,
  slots: readonly number[],
): Promise<Begun[]> {
  const { channel, upstreamModel } = route;
  const wanted: { slots: readonly number[]; permit: Permit }[] = [];
  for (const chunk of chunksOf(slots, channel.adapter.picturesMax)) {
    const permit = deps.breakers.take({ channel: channel.name, upstreamModel });
    if (permit === null) break;
    wanted.push({ slots: chunk, permit });
  }
  let begun: Begun[] = [];
  try {
    const attempts = wanted.map((one) => createAttempt(deps, route, one.slots));
    const committed = attempts.length === 0 ? [] : await commitAttempts(deps, run, route, attempts);
    begun = wanted.flatMap(({ permit }, index) => {
      const attempt = committed[index];
      return attempt === undefined ? [] : [{ attempt, channel, permit }];
    });
  } finally {
    for (const { permit } of wanted.slice(begun.length)) permit.answer("silent");
  }
  return begun;
}

function chunksOf(slots: readonly number[], size: number): (readonly number[])[] {
  return Array.from({ length: Math.ceil(slots.length / size) }, (_, index) =>
    slots.slice(index * size, (index + 1) * size),
  );
}

function createAttempt(
  { clock, ids }: EngineDeps,
  { channel, upstreamModel, tier }: Route,
  slots: readonly number[],
): Attempt {
  const now = clock.now();
  return {
    id: ids("attempt"),
    slots,
    channel: channel.name,
    upstreamModel,
    tier,
    state: "sent",
    handle: null,
    failure: null,
    sentAt: now,
    placeUntil: isCapped(channel, upstreamModel) ? now + channel.timeoutMs : null,
  };
}

/** Undoes the step: a task of which nothing is sent does not count as begun. */
class ChannelFull extends Error {}

/** The first of the attempts, as many as there are places for. */
async function commitAttempts(
  deps: EngineDeps,
  run: Run,
  { channel, upstreamModel }: Route,
  attempts: readonly Attempt[],
): Promise<readonly Attempt[]> {
  const wanted = attempts.length;
  try {
    return await commitStep(deps, run, async (tx) => {
      if (!(await startTask(tx, run.task.accountId, run.task.id))) return [];
      const granted = isCapped(channel, upstreamModel)
        ? await takePlaces(tx, channel, upstreamModel, wanted)
        : wanted;
      if (granted === 0) throw new ChannelFull();
      await insertAttempts(tx, run.task, attempts.slice(0, granted));
      return attempts.slice(0, granted);
    });
  } catch (error) {
    if (error instanceof ChannelFull) return [];
    throw error;
  }
}

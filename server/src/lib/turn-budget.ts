import { nextTurn } from "./turn.ts";

/**
 * Bounds what is done in one turn of the event loop by all who share it: otherwise sockets with much to
 * say are heard out one after the other before anybody else has a turn.
 */
export type TurnBudget = {
  /** Takes a place in the line: in every turn, who joined earlier goes first, and so is done and gone sooner. */
  join(): TurnMember;
};

export type TurnMember = {
  /** Resolves when a turn has something of its budget left, and takes `weight` from it. */
  spend(weight: number): Promise<void>;
};

type Waiting = { place: number; weight: number; go: () => void };

export function createTurnBudget(weightMax: number): TurnBudget {
  const waiting: Waiting[] = [];
  let places = 0;
  let spent = 0;
  let isTurnAwaited = false;

  function release(): void {
    while (spent < weightMax && waiting.length > 0) {
      const first = waiting.reduce((one, other) => (other.place < one.place ? other : one));
      waiting.splice(waiting.indexOf(first), 1);
      spent += first.weight;
      first.go();
    }
    if (spent > 0 && !isTurnAwaited) void renew();
  }

  async function renew(): Promise<void> {
    isTurnAwaited = true;
    await nextTurn();
    isTurnAwaited = false;
    spent = 0;
    release();
  }

  return {
    join: () => {
      places += 1;
      const place = places;
      return {
        spend: (weight) =>
          new Promise((go) => {
            waiting.push({ place, weight, go });
            release();
          }),
      };
    },
  };
}

/** How the nodes of one database tell each other: soon, in any order, and sometimes not at all. */
import type { Clock } from "../../src/lib/time.ts";
import type { Dice } from "../crash/dice.ts";

export type Notices = {
  send(text: string): Promise<void>;
  listen(receive: (text: string) => void): void;
};

const lostShare = 0.1;

export function createNotices({ clock, dice }: { clock: Clock; dice: Dice }): Notices {
  const listeners: ((text: string) => void)[] = [];
  return {
    send: async (text) => {
      for (const receive of listeners) {
        if (dice.isLucky(lostShare)) continue;
        clock.after(dice.between(1, 60), () => receive(text));
      }
    },
    listen: (receive) => void listeners.push(receive),
  };
}

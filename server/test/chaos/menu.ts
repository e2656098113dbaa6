/** What the callers of a chaos run ask for: work of a vendor with handles, and of one that answers at once. */
import type { Dice } from "../crash/dice.ts";
import type { Menu, Wish } from "../crash/orders.ts";

const square = { width: 1_024, height: 1_024 };

/** Every submit names a webhook of its own, `RECEIVER/MARK`. */
export function createMenu(receiver: string): Menu {
  return {
    wish: (dice, mark) => {
      const order = dice.isLucky(0.45) ? orderFlux(mark) : orderGpt(dice, mark);
      return { ...order, body: { ...order.body, webhook: `${receiver}/${mark}` } };
    },
  };
}

function orderFlux(mark: string): Wish {
  return {
    kind: "handle",
    body: { model: "flux-2-pro", size: "1:1", prompt: promptOf(mark) },
    promised: { status: "completed", pictures: 1, missing: 0, ...square, format: "jpeg" },
    insets: [],
  };
}

function orderGpt(dice: Dice, mark: string): Wish {
  const n = dice.between(1, 4);
  return {
    kind: "at once",
    body: {
      model: "gpt-image-2.5-flare",
      size: "1:1",
      quality: "low",
      n,
      prompt: promptOf(mark),
    },
    promised: { status: "completed", pictures: n, missing: 0, ...square, format: "png" },
    insets: [],
  };
}

/** As `crash/load.ts` forms it; the `x` at its end keeps one mark from being part of another. */
export const markPattern = /\bc\d+n\d+x\b/;

function promptOf(mark: string): string {
  return `${mark} a lighthouse at dusk`;
}

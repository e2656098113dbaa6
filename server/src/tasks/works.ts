/** The work under way on the slots of one task: each piece goes on by itself, and none is left behind. */
export type Works = {
  /** What is in work now, and when that changes. Throws what a piece has failed with. */
  look(): Promise<{ busy: ReadonlySet<number>; changed: Promise<void> }>;
  begin(slots: readonly number[], piece: Promise<void>): void;
  /** Resolves when every piece has ended: a call whose answer may be a paid picture is waited for. Never throws. */
  end(): Promise<void>;
};

export function createWorks(): Works {
  const pieces = new Map<Promise<void>, readonly number[]>();
  let failed: Promise<void> | null = null;
  let change = Promise.withResolvers<void>();

  function busySlots(): Set<number> {
    return new Set([...pieces.values()].flat());
  }

  function forget(piece: Promise<void>): void {
    const slots = pieces.get(piece) ?? [];
    pieces.delete(piece);
    const busy = busySlots();
    // A piece that has handed its slots over changes nothing that could be planned.
    if (failed === null && slots.every((slot) => busy.has(slot))) return;
    change.resolve();
    change = Promise.withResolvers();
  }

  return {
    look: async () => {
      const seen = { busy: busySlots(), changed: change.promise };
      await failed;
      return seen;
    },
    begin: (slots, piece) => {
      pieces.set(piece, slots);
      piece.then(
        () => forget(piece),
        () => {
          failed ??= piece;
          forget(piece);
        },
      );
    },
    end: async () => {
      // A piece may begin others before it ends.
      while (pieces.size > 0) await Promise.allSettled(pieces.keys());
    },
  };
}

/**
 * Carries wake-ups to the other nodes. Hints are gathered for a moment, named once however often they are
 * given, and sent in few notices; what comes back from this node itself is dropped.
 */
import type { Clock } from "../lib/time.ts";
import type { Watch } from "./watch.ts";

export type SharedWatchDeps = {
  clock: Pick<Clock, "after">;
  /** Names this node in its notices; no spaces. */
  node: string;
  /** Brings a text to every node, or loses it. Never throws. */
  send(text: string): Promise<void>;
};

export type SharedWatch = {
  /** What is told here is heard here at once, and on the other nodes shortly after. */
  watch: Watch;
  /** Takes a notice of any node. */
  receive(text: string): void;
};

/** At most this many hints a notice: a notice has room for 8,000 bytes. */
const hintsMax = 200;
const noticeBytesMax = 7_900;
const gatherMs = 20;
/** Hints that wait while the connection is slow; more are lost, and found by the slow polls. */
const waitingMax = 10_000;

const words = { ready: "r", changed: "c", ended: "e", placeFreed: "p" } as const;

export function createSharedWatch(local: Watch, deps: SharedWatchDeps): SharedWatch {
  const waiting = new Set<string>();
  let isSending = false;

  function tell(word: string, topic = ""): void {
    if (waiting.size >= waitingMax) return;
    waiting.add(`${word}${topic}`);
    sendLater();
  }

  function sendLater(): void {
    if (isSending || waiting.size === 0) return;
    isSending = true;
    deps.clock.after(gatherMs, () => void send());
  }

  async function send(): Promise<void> {
    await deps.send([deps.node, ...takeHints(waiting)].join(" "));
    isSending = false;
    sendLater();
  }

  return {
    watch: {
      ...local,
      ready: (lane) => {
        local.ready(lane);
        tell(words.ready, lane);
      },
      changed: (taskId) => {
        local.changed(taskId);
        tell(words.changed, taskId);
      },
      ended: (taskId) => {
        local.ended(taskId);
        tell(words.ended, taskId);
      },
      placeFreed: () => {
        local.placeFreed();
        tell(words.placeFreed);
      },
    },
    receive: (text) => {
      const [node, ...hints] = text.split(" ");
      if (node === deps.node) return;
      for (const hint of hints) pass(local, hint);
    },
  };
}

/** Removes from `waiting` what one notice can carry, the oldest first. */
function takeHints(waiting: Set<string>): string[] {
  const taken: string[] = [];
  let bytes = 0;
  for (const hint of waiting) {
    bytes += Buffer.byteLength(hint) + 1;
    if (taken.length === hintsMax || (taken.length > 0 && bytes > noticeBytesMax)) break;
    waiting.delete(hint);
    taken.push(hint);
  }
  return taken;
}

/** A word that a newer node may use is not known here, and says nothing. */
function pass(local: Watch, hint: string): void {
  const topic = hint.slice(1);
  switch (hint.charAt(0)) {
    case words.ready:
      local.ready(topic);
      return;
    case words.changed:
      local.changed(topic);
      return;
    case words.ended:
      local.ended(topic);
      return;
    case words.placeFreed:
      local.placeFreed();
      return;
    default:
  }
}

/**
 * Wakes those who wait: workers when a lane has a task, readers when a task has changed. In one
 * process this is a table of callbacks. A wake-up is a hint that something is worth reading; the
 * database stays the truth, and a slow poll catches a lost hint.
 */
export type Watch = {
  /** Tells that `lane` has a ready task. */
  ready(lane: string): void;
  /** Tells that a task has changed; called after the change is durable. */
  changed(taskId: string): void;
  /** Tells that a task has ended by other hands than its worker's. */
  ended(taskId: string): void;
  /** Tells that a capped channel has a free place again. */
  placeFreed(): void;
  onPlaceFreed(listener: () => void): () => void;
  onReady(listener: (lane: string) => void): () => void;
  /** Calls `listener` at every change of any task. */
  onAnyChange(listener: (taskId: string) => void): () => void;
  /** Calls `listener` at every change of one task until the returned function is called. */
  onChanged(taskId: string, listener: () => void): () => void;
  onEnded(taskId: string, listener: () => void): () => void;
};

export function createWatch(): Watch {
  const lanes = new Set<(lane: string) => void>();
  const places = new Set<() => void>();
  const anyChange = new Set<(taskId: string) => void>();
  const changes = createTopics();
  const ends = createTopics();
  return {
    ready: (lane) => {
      for (const listener of lanes) listener(lane);
    },
    changed: (taskId) => {
      for (const listener of anyChange) listener(taskId);
      changes.tell(taskId);
    },
    ended: ends.tell,
    placeFreed: () => {
      for (const listener of places) listener();
    },
    onPlaceFreed: (listener) => {
      places.add(listener);
      return () => places.delete(listener);
    },
    onReady: (listener) => {
      lanes.add(listener);
      return () => lanes.delete(listener);
    },
    onAnyChange: (listener) => {
      anyChange.add(listener);
      return () => anyChange.delete(listener);
    },
    onChanged: changes.listen,
    onEnded: ends.listen,
  };
}

type Topics = {
  tell(topic: string): void;
  listen(topic: string, listener: () => void): () => void;
};

function createTopics(): Topics {
  const topics = new Map<string, Set<() => void>>();
  return {
    tell: (topic) => {
      for (const listener of topics.get(topic) ?? []) listener();
    },
    listen: (topic, listener) => {
      const listeners = topics.get(topic) ?? new Set();
      topics.set(topic, listeners.add(listener));
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0 && topics.get(topic) === listeners) topics.delete(topic);
      };
    },
  };
}

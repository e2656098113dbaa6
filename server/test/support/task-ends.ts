/** How tasks of an engine ended, and what they cost us. */
import type { TestEngine } from "./engine.ts";

export async function loadCosts(engine: TestEngine) {
  const rows = await engine.db.read
    .selectFrom("costs")
    .select(["channel", "amount", "fate"])
    .orderBy("created_at")
    .orderBy("attempt_id")
    .execute();
  return rows.map(({ channel, amount, fate }) => [channel, amount, fate]);
}

export async function endAll(engine: TestEngine, ids: readonly string[], withinMs?: number) {
  for (const id of ids) await engine.untilEnded(id, withinMs);
  await engine.rest();
  return Promise.all(ids.map(async (id) => (await engine.read(id)).error?.code ?? "completed"));
}

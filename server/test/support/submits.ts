/** Submits to an engine, and the rows that they leave. */
import assert from "node:assert/strict";

import { loadUsage } from "../../src/accounts/key-usage.ts";
import type { Tables } from "../../src/db/schema.ts";
import { AppError } from "../../src/lib/errors.ts";
import type { Reason } from "../../src/lib/errors.ts";
import type { Submitted } from "../../src/tasks/submit.ts";
import { testModel } from "./engine.ts";
import type { SubmitWishes, TestEngine } from "./engine.ts";

export const body = { model: testModel, prompt: "a lighthouse" };
export const route = "POST /v1/images/generations";

export function keyed(key: string, digest = "d1"): SubmitWishes {
  return { body, idempotency: { route, key, digest } };
}

/** The accepted task's id, or the reason of the refusal. */
export async function resultOf(submitted: Promise<Submitted>): Promise<string> {
  try {
    return (await submitted).taskId;
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return error.reason;
  }
}

export async function assertRefused(
  submitted: Promise<Submitted>,
  reason: Reason,
): Promise<AppError> {
  const error = await submitted.then(
    () => assert.fail("it was accepted"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof AppError, String(error));
  assert.equal(error.reason, reason);
  return error;
}

export async function countRows(engine: TestEngine): Promise<Record<string, number>> {
  const tables: (keyof Tables)[] = [
    "tasks",
    "slots",
    "queue",
    "idempotency",
    "references",
    "attempts",
  ];
  const counts: Record<string, number> = {};
  for (const table of tables) {
    counts[table] = (await engine.db.read.selectFrom(table).selectAll().execute()).length;
  }
  const holds = await engine.db.read
    .selectFrom("ledger")
    .select("id")
    .where("kind", "=", "hold")
    .execute();
  const { held, inFlight } = await loadUsage(engine.db.read, engine.caller);
  return { ...counts, holds: holds.length, held, inFlight };
}

export const noRows = {
  tasks: 0,
  slots: 0,
  queue: 0,
  idempotency: 0,
  references: 0,
  attempts: 0,
  holds: 0,
  held: 0,
  inFlight: 0,
};

import assert from "node:assert/strict";
import { test } from "node:test";

import type { OutputRow } from "../db/schema.ts";
import { languages } from "../models/model.ts";
import type { Slot } from "./task.ts";
import { taskErrorCodes } from "../models/task-errors.ts";
import { describeTaskError } from "./errors.ts";
import { presentTask } from "./view.ts";
import type { TaskViewRow, ViewInput } from "./view.ts";

const createdAt = 1_767_225_600_999;

const pending: TaskViewRow = {
  id: "task_1",
  mode: "live",
  model: "flux-2-pro",
  state: "pending",
  revision: 1,
  pictures: 1,
  open_slots: 1,
  held: 45_000,
  captured: 0,
  warnings_json: null,
  error_json: null,
  usage_json: null,
  created_at: createdAt,
  cancel_requested_at: null,
  ended_at: null,
  expires_at: null,
};

const completed: TaskViewRow = {
  ...pending,
  state: "completed",
  open_slots: 0,
  captured: 38_700,
  ended_at: createdAt + 12_345,
  expires_at: createdAt + 86_400_000,
};

function outputOf(slot: number): OutputRow {
  return {
    account_id: "acc_1",
    task_id: "task_1",
    slot,
    object: `object${slot}`,
    content_type: "image/png",
    width: 640,
    height: 480,
    bytes: 1_234,
    created_at: createdAt,
    remove_at: null,
  };
}

function present(row: TaskViewRow, more: Partial<ViewInput> = {}) {
  return presentTask({
    row,
    outputs: [],
    slots: [],
    language: "en",
    estimatedSeconds: 20,
    linkTo: ({ object }, expiresAtMs) => `https://here/${object}?${expiresAtMs}`,
    ...more,
  });
}

test("a pending task shows its hold and nothing that does not apply yet", () => {
  assert.deepEqual(present(pending), {
    id: "task_1",
    status: "pending",
    progress: 0,
    model: "flux-2-pro",
    cost: 0.045,
    credits_cost: 0.45,
    created: 1_767_225_600,
    estimated_time: 20,
  });
});

test("progress moves with the pictures and is 100 at every end, and only there", () => {
  const processing = { ...pending, state: "processing" as const, pictures: 3 };
  assert.equal(present({ ...processing, open_slots: 3 }).progress, 0);
  assert.equal(present({ ...processing, open_slots: 2 }).progress, 33);
  assert.equal(present({ ...processing, open_slots: 1 }).progress, 66);
  for (const state of ["completed", "failed", "cancelled"] as const) {
    assert.equal(present({ ...completed, state }).progress, 100);
  }
});

test("a completed task shows its pictures, its times and what was charged", () => {
  assert.deepEqual(present(completed, { outputs: [outputOf(0)] }), {
    id: "task_1",
    status: "completed",
    progress: 100,
    model: "flux-2-pro",
    cost: 0.0387,
    credits_cost: 0.387,
    created: 1_767_225_600,
    completed: 1_767_225_613,
    actual_time: 13,
    estimated_time: 20,
    result: {
      images: [
        {
          url: [`https://here/object0?${completed.expires_at}`],
          expires_at: 1_767_312_000,
          width: 640,
          height: 480,
          bytes: 1_234,
          content_type: "image/png",
        },
      ],
    },
  });
});

test("of several pictures each says which one it is, and the missing ones why", () => {
  const slots: Slot[] = [
    { slot: 0, state: "done", captured: 1, error: null },
    { slot: 1, state: "failed", captured: 0, error: { code: "no_image" } },
    { slot: 2, state: "done", captured: 1, error: null },
  ];
  const row = { ...completed, pictures: 3 };
  const { result } = present(row, {
    outputs: [outputOf(0), outputOf(2)],
    slots,
    language: "de",
  });
  assert.deepEqual(
    result?.images.map(({ index }) => index),
    [0, 2],
  );
  assert.deepEqual(result?.errors, [
    { index: 1, code: "no_image", message: describeTaskError("no_image", "de") },
  ]);
});

test("failed and cancelled tasks cost nothing and say why", () => {
  const failed = {
    ...completed,
    state: "failed" as const,
    captured: 0,
    expires_at: null,
    error_json: JSON.stringify({ code: "invalid_reference_image", param: "image_urls" }),
  };
  const view = present(failed);
  assert.deepEqual([view.cost, view.credits_cost, view.result], [0, 0, undefined]);
  assert.deepEqual(view.error, {
    code: "invalid_reference_image",
    type: "task_failed",
    message: describeTaskError("invalid_reference_image", "en"),
    param: "image_urls",
  });
  const placed = { code: "invalid_reference_image", param: "image_urls", place: "image_urls[3]" };
  assert.deepEqual(present({ ...failed, error_json: JSON.stringify(placed) }).error, {
    ...view.error,
    message: `image_urls[3]: ${describeTaskError("invalid_reference_image", "en")}`,
  });
  const cancelled = {
    ...failed,
    state: "cancelled" as const,
    error_json: JSON.stringify({ code: "cancelled" }),
  };
  const { error } = present(cancelled);
  assert.equal(error?.type, "task_cancelled");
  assert.equal(Object.hasOwn(error, "param"), false);
});

test("a request to cancel is shown until the end, warnings and usage for as long as there are any", () => {
  const asked = { ...pending, cancel_requested_at: createdAt };
  assert.equal(present(asked).cancel_requested, true);
  assert.equal(
    present({ ...completed, cancel_requested_at: createdAt }).cancel_requested,
    undefined,
  );
  const warning = { param: "quality", code: "ignored", message: "no effect" };
  const usage = { input_tokens: 1, output_tokens: 2, total_tokens: 3 };
  const view = present({
    ...completed,
    mode: "test",
    warnings_json: JSON.stringify([warning]),
    usage_json: JSON.stringify(usage),
  });
  assert.deepEqual([view.warnings, view.usage, view.test], [[warning], usage, true]);
});

test("no field of any view is null", () => {
  for (const row of [pending, completed, { ...completed, state: "failed" as const }]) {
    for (const [name, value] of Object.entries(present(row))) assert.notEqual(value, null, name);
  }
});

test("every error has words of its own in every language", () => {
  for (const language of languages) {
    const texts = taskErrorCodes.map((code) => describeTaskError(code, language));
    assert.equal(new Set(texts).size, taskErrorCodes.length, language);
    assert.ok(texts.every((text) => text.trim().length > 5));
    if (language === "en") continue;
    for (const [index, code] of taskErrorCodes.entries()) {
      assert.notEqual(texts[index], describeTaskError(code, "en"), `${language} ${code}`);
    }
  }
});

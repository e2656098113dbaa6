import assert from "node:assert/strict";
import { test } from "node:test";

import replies from "../../test/fixtures/gemini/interaction-replies.json" with { type: "json" };
import { isFailure } from "../../test/support/adapters.ts";
import { failureOf, setUpInteractions } from "../../test/support/gemini-interactions.ts";
import type { FailureKind } from "./adapter.ts";

test("an answer to a submit that is no answer is lost or garbled", async (t) => {
  const { answered } = await setUpInteractions(t);
  const output = (data: string) => ({
    status: "completed",
    steps: [{ type: "model_output", content: [{ type: "image", data }] }],
  });
  const bodies = [{}, Buffer.from("<html></html>"), { status: "thinking_hard" }, output("%%%%")];
  for (const body of bodies) await assert.rejects(answered(body), isFailure("garbled"));
  await assert.rejects(answered({ status: "queued" }), isFailure("lost"));
});

test("the picture comes from what the model put out, and usage is told by modality", async (t) => {
  const { answered } = await setUpInteractions(t);
  const step = await answered(replies.neonAlley);
  assert.ok(step.status === "done");
  const [picture] = step.pictures;
  assert.ok(picture?.kind === "bytes");
  assert.equal(Buffer.from(picture.bytes).toString("base64"), "/9j/4AAQ");
  assert.deepEqual(step.usage, {
    inputTokens: 1_132,
    inputTextTokens: 12,
    inputImageTokens: 1_120,
    outputTokens: 1_120,
    outputImageTokens: 1_120,
  });
});

test("what is odd beside the picture costs no picture", async (t) => {
  const { answered } = await setUpInteractions(t);
  const blocks = ["words", null, { type: "text", data: 7 }, { type: "image", data: "/9j/4AAQ" }];
  const steps = [
    { type: "google_search_call", content: "none", error: "none" },
    { type: "model_output", content: blocks, error: { code: {} } },
  ];
  const step = await answered({ status: "completed", steps, errors: {}, usage: "none" });
  assert.ok(step.status === "done");
  assert.equal(step.pictures[0]?.kind, "bytes");
  assert.deepEqual(step.usage, {});
});

test("thoughts are added to the output only where the total shows that they are not in it", async (t) => {
  const { answered } = await setUpInteractions(t);
  const outputOf = async (total: number) => {
    const usage = {
      total_input_tokens: 10,
      total_output_tokens: 1_301,
      total_thought_tokens: 11,
      total_tokens: total,
    };
    const step = await answered({ ...replies.neonAlley, usage });
    assert.ok(step.status === "done");
    return step.usage.outputTokens;
  };
  assert.equal(await outputOf(10 + 1_301 + 11), 1_312);
  assert.equal(await outputOf(10 + 1_301), 1_301);
});

test("every terminal status without a picture has its kind, at once and in the background", async (t) => {
  const { answered, polled } = await setUpInteractions(t, true);
  const failed = (code: string | number) => ({ status: "failed", errors: [{ code }] });
  const cases: [body: object, kind: FailureKind, taskError?: string][] = [
    [{ status: "completed" }, "refused", "no_image"],
    [
      { status: "completed", steps: [{ type: "model_output", content: [] }] },
      "refused",
      "no_image",
    ],
    [{ status: "incomplete" }, "refused", "no_image"],
    [{ status: "budget_exceeded" }, "refused", "no_image"],
    [{ status: "requires_action" }, "refused", "no_image"],
    [{ status: "requires_continuation" }, "refused", "no_image"],
    [{ status: "cancelled" }, "refused", "cancelled"],
    [{ status: "failed" }, "unavailable"],
    ...["safety", "recitation", "prohibited_content", "spii", "blocklist", "content_blocked"].map(
      (code): [object, FailureKind] => [failed(code), "refused"],
    ),
    [failed("image_other"), "refused", "no_image"],
    [failed("language"), "refused", "no_image"],
    [failed("no_image"), "refused", "no_image"],
    [failed("something_new"), "refused", "no_image"],
    [failed("service_unavailable"), "unavailable"],
    [failed(13), "unavailable"],
    [failed(503), "unavailable"],
    [failed(8), "rate_limited"],
    [
      { status: "completed", steps: [{ type: "model_output", error: { code: "image_safety" } }] },
      "refused",
    ],
  ];
  for (const [body, kind, taskError] of cases) {
    const reply = { status: 200, body };
    for (const ask of [() => answered(body), () => polled({ kind: "refusal", reply })]) {
      const failure = await failureOf(ask());
      assert.deepEqual([failure.kind, failure.taskError], [kind, taskError], JSON.stringify(body));
    }
  }
  // Thrown, it would be taken for a poll to repeat.
  const reply = { status: 200, body: { status: "failed" } };
  assert.equal((await polled({ kind: "refusal", reply })).status, "done");
});

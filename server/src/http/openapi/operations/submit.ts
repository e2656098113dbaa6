import type { Reason } from "../../../lib/errors.ts";
import type { Model } from "../../../models/row.ts";
import type { Operation } from "../operation.ts";
import { modelSchemas } from "../schemas/models.ts";
import { taskSchemas } from "../schemas/tasks.ts";
import { submitExamples } from "../submit-schemas.ts";

/** What the contract of the model says, and who serves it. */
const checkReasons: readonly Reason[] = [
  "missing_parameter",
  "invalid_parameter",
  "unsupported_parameter",
  "model_not_allowed",
  "model_not_found",
  "no_channel",
  "price_not_set",
];

/** What only a task that is to be made can fail on. */
const acceptReasons: readonly Reason[] = [
  "invalid_image",
  "invalid_mask",
  "image_too_large",
  "insufficient_balance",
  "spend_cap_reached",
  "idempotency_key_reused",
  "idempotency_in_progress",
  "task_limit_reached",
  "daily_spend_reached",
];

export function submitOperations(models: readonly Model[]): Operation[] {
  const body = {
    schema: { $ref: "#/components/schemas/SubmitBody" },
    examples: submitExamples(models),
  };
  return [
    {
      method: "post",
      path: "/v1/images/generations",
      id: "submitTask",
      tag: "Images",
      summary: "Submit a task",
      description:
        "Answers at once with the id of the task; the pictures are read from the task. Repeat with the same `Idempotency-Key` when a reply was lost.",
      access: "key",
      headers: ["Idempotency-Key", "Prefer"],
      body,
      replies: {
        200: {
          description: "The task is accepted and will not be lost.",
          headers: ["Idempotency-Replayed", "Preference-Applied"],
          content: {
            schema: taskSchemas.SubmitOutcome,
            examples: {
              submitted: {
                value: {
                  code: 200,
                  data: [{ status: "submitted", task_id: "task_01K8SGYNNNVBQTXNR4MM964S7K" }],
                },
              },
            },
          },
        },
        202: {
          description: "The same under the versioned contract.",
          headers: ["Idempotency-Replayed", "Preference-Applied"],
          content: { schema: taskSchemas.VersionedSubmitReply },
        },
      },
      reasons: [...checkReasons, ...acceptReasons],
    },
    {
      method: "post",
      path: "/v1/images/estimate",
      id: "estimateTask",
      tag: "Images",
      summary: "Price a task without making it",
      description: "Takes the body of a submit; makes, holds and fetches nothing.",
      access: "key",
      body,
      replies: {
        200: {
          description: "What a submit would hold, and what it will probably cost.",
          content: { schema: modelSchemas.EstimateReply },
        },
      },
      reasons: checkReasons,
    },
  ];
}

import type { Reason } from "../../../lib/errors.ts";
import type { Operation, Reply } from "../operation.ts";
import { modelSchemas } from "../schemas/models.ts";
import { openAiSchemas } from "../schemas/openai.ts";

const shared = { tag: "OpenAI", access: "key", errorSchema: openAiSchemas.OpenAiError } as const;
const refusal = { schema: openAiSchemas.OpenAiError };

const pictures: Readonly<Record<number, Reply>> = {
  200: {
    description: "The pictures, or events with `stream: true`.",
    headers: ["Idempotency-Replayed"],
    content: [
      { schema: openAiSchemas.OpenAiImagesReply },
      { mediaType: "text/event-stream", schema: { type: "string" } },
    ],
  },
  502: { description: "The task ended without a picture.", content: refusal },
  504: { description: "The task did not end in time.", content: refusal },
};

/** Why a submit of any dialect is refused. */
export const submitReasons: readonly Reason[] = [
  "missing_parameter",
  "invalid_parameter",
  "unsupported_parameter",
  "invalid_image",
  "invalid_mask",
  "image_too_large",
  "insufficient_balance",
  "spend_cap_reached",
  "model_not_allowed",
  "model_not_found",
  "idempotency_key_reused",
  "idempotency_in_progress",
  "task_limit_reached",
  "daily_spend_reached",
  "no_channel",
  "price_not_set",
];

export const openAiOperations: readonly Operation[] = [
  {
    ...shared,
    method: "post",
    path: "/openai/v1/images/generations",
    id: "openAiGenerate",
    summary: "Make pictures and wait for them",
    headers: ["Idempotency-Key"],
    body: { schema: openAiSchemas.OpenAiGenerationBody },
    replies: pictures,
    reasons: submitReasons,
  },
  {
    ...shared,
    method: "post",
    path: "/openai/v1/images/edits",
    id: "openAiEdit",
    summary: "Edit pictures and wait for the result",
    headers: ["Idempotency-Key"],
    body: [
      { schema: openAiSchemas.OpenAiEditBody },
      { mediaType: "multipart/form-data", schema: openAiSchemas.OpenAiEditForm },
    ],
    replies: pictures,
    reasons: submitReasons,
  },
  {
    ...shared,
    method: "get",
    path: "/openai/v1/models",
    id: "openAiListModels",
    summary: "List the models",
    replies: {
      200: { description: "All models.", content: { schema: openAiSchemas.OpenAiModelList } },
    },
    reasons: [],
  },
  {
    ...shared,
    method: "get",
    path: "/openai/v1/models/{id}",
    id: "openAiReadModel",
    summary: "Read a model",
    pathParameters: { id: { description: "Id of the model." } },
    replies: { 200: { description: "The model.", content: { schema: modelSchemas.Model } } },
    reasons: ["model_not_found"],
  },
];

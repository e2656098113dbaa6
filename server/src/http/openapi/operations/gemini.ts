import type { Operation, Reply } from "../operation.ts";
import { geminiSchemas } from "../schemas/gemini.ts";
import { submitReasons } from "./openai.ts";

const shared = {
  tag: "Gemini",
  access: "key",
  keyHeader: "x-goog-api-key",
  errorSchema: geminiSchemas.GeminiError,
} as const;
const refusal = { schema: geminiSchemas.GeminiError };
const model = { description: "Id of the model, or the vendor's own name of it." };

const replies: Readonly<Record<number, Reply>> = {
  200: {
    description: "The pictures, or why the prompt gives none.",
    headers: ["Idempotency-Replayed"],
    content: { schema: geminiSchemas.GeminiAnswer },
  },
  502: { description: "The task ended without a picture.", content: refusal },
  504: { description: "The task did not end in time.", content: refusal },
};

/** Google's own clients differ in the version that they put into the path. */
const versions = [
  { prefix: "/v1beta", id: "geminiGenerate" },
  { prefix: "/v1", id: "geminiGenerateV1" },
] as const;

export const geminiOperations: readonly Operation[] = [
  ...versions.map(({ prefix, id }): Operation => ({
    ...shared,
    method: "post",
    path: `${prefix}/models/{model}:generateContent`,
    route: `${prefix}/models/:call`,
    id,
    summary: "Make pictures and wait for them",
    pathParameters: { model },
    headers: ["Idempotency-Key"],
    body: { schema: geminiSchemas.GeminiBody },
    replies,
    reasons: submitReasons,
  })),
  {
    ...shared,
    method: "get",
    path: "/v1beta/models",
    id: "geminiListModels",
    summary: "List the models",
    replies: {
      200: { description: "All models.", content: { schema: geminiSchemas.GeminiModelList } },
    },
    reasons: [],
  },
  {
    ...shared,
    method: "get",
    path: "/v1beta/models/{model}",
    route: "/v1beta/models/:id",
    id: "geminiReadModel",
    summary: "Read a model",
    pathParameters: { model },
    replies: { 200: { description: "The model.", content: { schema: geminiSchemas.GeminiModel } } },
    reasons: ["model_not_found"],
  },
];

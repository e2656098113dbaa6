import { z } from "zod";

import { warning } from "./errors.ts";
import { modelSchemas } from "./models.ts";
import { taskSchemas } from "./tasks.ts";

const error = z
  .object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string(),
      task_id: z.string().exactOptional().describe("The task behind, where there is one."),
    }),
  })
  .describe("A refusal as the OpenAI API words it.");

const text = z.string();

/** Fields that every model may have; the model's own parameters are taken as well. */
const fields = {
  model: text,
  prompt: text,
  n: z.number().int().optional(),
  size: text.optional().describe("Pixels, a ratio or `auto`; mapped to what the model offers."),
  quality: text.optional(),
  background: text.optional(),
  output_format: text.optional(),
  output_compression: z.number().int().optional(),
  moderation: text.optional(),
  response_format: z.enum(["b64_json", "url"]).optional(),
  stream: z.boolean().optional().describe("Answers server-sent events."),
};

const generationBody = z.object(fields);

const reference = z.object({ image_url: text });

const editBody = z.object({
  ...fields,
  images: z.array(reference).min(1).describe("URLs or data URIs."),
  mask: reference.optional(),
});

const file: z.ZodType = z.unknown().meta({ contentMediaType: "application/octet-stream" });

const editForm = z.object({
  model: text,
  prompt: text,
  image: file.describe("One picture, or many as `image[]`."),
  mask: file.optional(),
});

const imagesReply = z.object({
  created: z.number().int(),
  size: text,
  output_format: text,
  quality: text.exactOptional(),
  background: text.exactOptional(),
  usage: taskSchemas.TaskUsage.exactOptional(),
  task_ids: z.array(text).describe("The tasks behind the pictures."),
  warnings: z.array(warning).exactOptional(),
  data: z.array(z.object({ b64_json: text.exactOptional(), url: text.exactOptional() })),
});

const modelList = z.object({ object: z.literal("list"), data: z.array(modelSchemas.Model) });

export const openAiSchemas = {
  OpenAiError: error,
  OpenAiGenerationBody: generationBody,
  OpenAiEditBody: editBody,
  OpenAiEditForm: editForm,
  OpenAiImagesReply: imagesReply,
  OpenAiModelList: modelList,
};

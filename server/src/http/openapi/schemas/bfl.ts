import { z } from "zod";

const text = z.string();

const body = z
  .object({
    prompt: text,
    input_image: text.optional().describe("URL or base64; further ones up to `input_image_8`."),
    aspect_ratio: text.optional(),
    width: z.number().int().optional().describe("With `height`: mapped to a ratio and tier."),
    height: z.number().int().optional(),
    output_format: text.optional(),
  })
  .describe("The model's own parameters are taken as well.");

const submitted = z.object({
  id: text.describe("Id of the task."),
  polling_url: text,
});

const result = z
  .object({
    id: text,
    status: z.enum(["Pending", "Ready", "Error"]),
    progress: z.null(),
    preview: z.null(),
    result: z
      .object({
        sample: text.describe("Link to the picture."),
        start_time: z.number().int(),
        end_time: z.number().int().nullable(),
      })
      .nullable(),
    details: z.object({ error: text, code: text }).nullable(),
  })
  .describe("`Ready` and `Error` are final.");

const error = z
  .object({
    detail: z.union([text, z.array(z.object({ loc: z.array(text), msg: text, type: text }))]),
  })
  .describe("A refusal as BFL's services word it.");

export const bflQuery = z.object({ id: text.describe("Id of the task.") });

export const bflSchemas = {
  BflBody: body,
  BflSubmitted: submitted,
  BflResult: result,
  BflError: error,
};

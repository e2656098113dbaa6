import { z } from "zod";

const text = z.string();
const code = z.number().int();

const inlineData = z.object({ mimeType: text, data: text.describe("Base64.") });

const part = z
  .object({
    text: text.optional(),
    inlineData: inlineData.optional().describe("A reference picture."),
    fileData: z.object({ fileUri: text }).optional().describe("A reference picture by its URL."),
  })
  .describe("Text of the prompt, or a picture. Names in snake case are read as well.");

const body = z.object({
  contents: z
    .array(z.object({ role: text.optional(), parts: z.array(part) }))
    .describe("All of their text together is the prompt."),
  generationConfig: z
    .object({
      candidateCount: code.optional().describe("Number of pictures."),
      imageConfig: z
        .object({ aspectRatio: text.optional(), imageSize: text.optional() })
        .optional(),
    })
    .optional(),
  tools: z.array(z.object({ googleSearch: z.object({}).optional() })).optional(),
});

const answer = z
  .object({
    candidates: z
      .array(
        z.object({
          index: code,
          finishReason: text,
          content: z
            .object({ role: text, parts: z.array(z.object({ inlineData })) })
            .exactOptional(),
        }),
      )
      .exactOptional(),
    promptFeedback: z
      .object({ blockReason: text })
      .exactOptional()
      .describe("Instead of candidates, when the prompt is refused."),
    usageMetadata: z
      .object({ promptTokenCount: code, candidatesTokenCount: code, totalTokenCount: code })
      .exactOptional(),
    modelVersion: text,
    responseId: text.describe("Id of the task."),
  })
  .describe("The pictures, or why the prompt gives none.");

const error = z
  .object({
    error: z.object({
      code,
      message: text,
      status: text,
      details: z.array(z.object({ "@type": text, reason: text, domain: text })),
    }),
  })
  .describe("A refusal as Google's services word it.");

const model = z.object({
  name: text,
  displayName: text,
  description: text,
  supportedGenerationMethods: z.array(text),
});

export const geminiSchemas = {
  GeminiBody: body,
  GeminiAnswer: answer,
  GeminiError: error,
  GeminiModel: model,
  GeminiModelList: z.object({ models: z.array(model) }),
};

/**
 * Gemini's `generateContent`: one call, one picture, answered in the same exchange. There is no id to ask
 * about later and no key against repeats, so a call that was sent and not answered is lost.
 */
import { z } from "zod";

import type { JsonObject } from "../lib/json.ts";
import { ProviderError } from "./adapter.ts";
import type { Adapter, Call, Job, Picture, Step, Usage } from "./adapter.ts";
import { base64Schema, parseBase64 } from "./base64.ts";
import { assertAnswered, failureOfWord } from "./gemini-errors.ts";
import { checkAccount, tokensOf, tokensSchema, usageOf } from "./gemini-reply.ts";
import { encodeBody, pictureData, requestTo, wishOf } from "./gemini-request.ts";
import type { GeminiSettings } from "./gemini-request.ts";
import { describeReply, parseReply, reportHealth } from "./request.ts";
import type { Send, VendorReply } from "./request.ts";

export type { GeminiSettings } from "./gemini-request.ts";

export type GeminiDeps = { send: Send };

/** Masks are not the vendor's business: the picture is laid over the reference by the house. */
export function createGemini(settings: GeminiSettings, { send }: GeminiDeps): Adapter {
  return {
    name: "gemini",
    picturesMax: 1,
    resend: "never",
    readsReferencesOn: "submit",
    submit: (job, call) => generate({ settings, send }, job, call),
    check: (call) => reportHealth(() => checkAccount(settings, send, call)),
  };
}

type Account = GeminiDeps & { settings: GeminiSettings };

async function generate({ settings, send }: Account, job: Job, call: Call): Promise<Step> {
  const path = `models/${encodeURIComponent(job.upstreamModel)}:generateContent`;
  const body = await encodeBody(bodyOf(settings, job), job.references);
  const reply = await send(
    requestTo(settings, path, { verb: "submit", method: "POST", body }),
    call,
  );
  assertAnswered(reply, "submit", call);
  return stepOf(reply);
}

function bodyOf(settings: GeminiSettings, job: Job): JsonObject {
  const wish = wishOf(settings, job);
  const imageConfig: JsonObject = {
    ...(wish.ratio === null ? {} : { aspectRatio: wish.ratio }),
    ...(wish.imageSize === null ? {} : { imageSize: wish.imageSize }),
  };
  const pictures = job.references.map(({ contentType }) => ({
    inlineData: { mimeType: contentType, data: pictureData },
  }));
  const body: JsonObject = {
    contents: [{ role: "user", parts: [{ text: job.prompt }, ...pictures] }],
    generationConfig: {
      // With words allowed too, the model at times describes the picture instead of making it.
      responseModalities: ["IMAGE"],
      ...(Object.keys(imageConfig).length === 0 ? {} : { imageConfig }),
    },
  };
  if (wish.search === "web") body["tools"] = [{ googleSearch: {} }];
  if (wish.search === "web_and_images") {
    body["tools"] = [{ googleSearch: { searchTypes: { webSearch: {}, imageSearch: {} } } }];
  }
  return body;
}

const partSchema = z.object({
  thought: z.boolean().nullish(),
  inlineData: z.object({ mimeType: z.string().nullish(), data: base64Schema }).nullish(),
});

const candidateSchema = z.object({
  finishReason: z.string().nullish(),
  content: z.object({ parts: z.array(partSchema).nullish() }).nullish(),
});

const detailsSchema = z
  .array(
    z
      .object({ modality: z.string().nullish(), tokenCount: tokensSchema })
      .transform(({ modality, tokenCount: tokens }) => ({ modality, tokens })),
  )
  .nullish()
  .catch(null);

const usageSchema = z.object({
  promptTokenCount: tokensSchema,
  candidatesTokenCount: tokensSchema,
  thoughtsTokenCount: tokensSchema,
  promptTokensDetails: detailsSchema,
  candidatesTokensDetails: detailsSchema,
});

const replySchema = z.object({
  promptFeedback: z.object({ blockReason: z.string().nullish() }).nullish(),
  candidates: z.array(candidateSchema).nullish(),
  // A picture that is there is not given up for figures that are odd.
  usageMetadata: usageSchema.nullish().catch(null),
});

type Reply = z.infer<typeof replySchema>;

function stepOf(vendorReply: VendorReply): Step {
  const reply = parseReply(replySchema, vendorReply);
  const { promptFeedback, candidates, usageMetadata } = reply;
  if (promptFeedback == null && candidates == null && usageMetadata == null) {
    throw new ProviderError("garbled", `nothing known in ${describeReply(vendorReply)}`);
  }
  return { status: "done", pictures: [findPicture(reply)], usage: readUsage(usageMetadata) };
}

/** A refusal is answered with 200 too, and leaves the picture out. */
function findPicture({ promptFeedback, candidates }: Reply): Picture {
  const blockReason = promptFeedback?.blockReason ?? null;
  if (blockReason !== null) {
    const message = `the prompt was blocked: ${blockReason.slice(0, 60)}`;
    return { kind: "failed", failure: new ProviderError("refused", message) };
  }
  const parts = (candidates ?? [])
    .filter(({ finishReason }) => !isRefusal(finishReason))
    .flatMap(({ content }) => content?.parts ?? []);
  const data = parts.find(isPicture)?.inlineData?.data;
  if (data !== undefined) return { kind: "bytes", bytes: parseBase64(data) };
  return { kind: "failed", failure: failureOfWord(candidates?.[0]?.finishReason ?? "no_image") };
}

function isRefusal(finishReason: string | null | undefined): boolean {
  return finishReason != null && failureOfWord(finishReason).taskError === undefined;
}

/** Drafts on the way to the picture are thoughts. */
function isPicture({ thought, inlineData }: z.infer<typeof partSchema>): boolean {
  if (thought === true || inlineData == null) return false;
  return inlineData.mimeType?.startsWith("image/") ?? true;
}

function readUsage(usage: Reply["usageMetadata"]): Usage {
  const { candidatesTokenCount, thoughtsTokenCount } = usage ?? {};
  return usageOf({
    inputTokens: usage?.promptTokenCount ?? null,
    inputTextTokens: tokensOf("text", usage?.promptTokensDetails) ?? null,
    inputImageTokens: tokensOf("image", usage?.promptTokensDetails) ?? null,
    // Thoughts are counted apart from the candidates and paid for as output.
    outputTokens:
      candidatesTokenCount == null ? null : candidatesTokenCount + (thoughtsTokenCount ?? 0),
    outputImageTokens: tokensOf("image", usage?.candidatesTokensDetails) ?? null,
  });
}

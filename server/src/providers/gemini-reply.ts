/** What the two Gemini protocols share on the way back: token figures and the health call. */
import { z } from "zod";

import type { Call, Health, Usage } from "./adapter.ts";
import { assertAnswered } from "./gemini-errors.ts";
import { requestTo } from "./gemini-request.ts";
import type { GeminiSettings } from "./gemini-request.ts";
import { parseReply } from "./request.ts";
import type { Send } from "./request.ts";

/** A count of tokens; null where the vendor says nothing that can be one. */
export const tokensSchema = z.int().nonnegative().nullish().catch(null);

export type Tokens = z.infer<typeof tokensSchema>;

export type ModalityTokens = { modality?: string | null | undefined; tokens?: Tokens };

/** The reported tokens of one modality; undefined, never zero, where the vendor does not break them down. */
export function tokensOf(
  modality: "text" | "image",
  details: readonly ModalityTokens[] | null | undefined,
): number | undefined {
  const counts = (details ?? []).flatMap((detail) =>
    detail.modality?.toLowerCase() === modality && typeof detail.tokens === "number"
      ? [detail.tokens]
      : [],
  );
  return counts.length === 0 ? undefined : counts.reduce((sum, count) => sum + count, 0);
}

/** The figures that are there. */
export function usageOf(figures: { [Figure in keyof Usage]: Usage[Figure] | null }): Usage {
  const there = Object.entries(figures).filter(([, figure]) => figure != null);
  return Object.fromEntries(there);
}

const modelsSchema = z.object({ models: z.array(z.object({ name: z.string() })) });

/** Lists the models, which is free and needs a working key. Throws `ProviderError`. */
export async function checkAccount(
  settings: GeminiSettings,
  send: Send,
  call: Call,
): Promise<Health> {
  const request = requestTo(settings, "models?pageSize=1000", { verb: "check", method: "GET" });
  const reply = await send(request, call);
  assertAnswered(reply, "check", call);
  const { models } = parseReply(modelsSchema, reply);
  const upstreamModels = models.map(({ name }) => name.replace(/^models\//, ""));
  const detail = `the key is accepted and ${upstreamModels.length} models are listed`;
  return { ok: true, detail, upstreamModels };
}

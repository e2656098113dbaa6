/**
 * What the rest of the house gets from this room: a checked request, and its frozen price. The rows
 * that decide both are described in `row.ts`.
 */
import type { JsonObject } from "../lib/json.ts";
import type { Micros } from "../lib/money.ts";

export const languages = ["en", "zh", "ja", "ko", "ru", "fr", "de", "id", "pt", "es"] as const;
/** Languages of the texts of task errors. */
export type Language = (typeof languages)[number];

export type Warning = {
  param: string;
  code: "ignored" | "clamped" | "lowered";
  message: string;
};

/** A reference or mask as the caller wrote it, checked in form but neither decoded nor fetched. */
export type ReferenceInput =
  | { kind: "url"; url: string }
  /** `base64` is the text after the comma, not yet decoded. */
  | { kind: "data"; mediaType: string | null; base64: string };

/** A submit that keeps its model's contract. Everything in `parameters` is canonical, with defaults. */
export type ImageRequest = {
  model: string;
  prompt: string;
  pictures: number;
  /**
   * Every parameter of the model but model, prompt, n and the references, by its public name:
   * `size`, `resolution`, `quality`, `output_format`… An absent parameter without a default is left out.
   */
  parameters: JsonObject;
  officialFallback: boolean;
};

export type Submit = {
  request: ImageRequest;
  references: readonly ReferenceInput[];
  mask: ReferenceInput | null;
  /** Base address for the callback; checked in form. */
  webhook: string | null;
  language: Language | null;
  warnings: readonly Warning[];
};

/** Who makes a picture: `official` channels at the vendor's own list price, others at the standard one. */
export type Tier = "standard" | "official";

/** What one picture turned out to be, as far as it can set a price. Absent figures are absent, never zero. */
export type Delivered = {
  tier: Tier;
  /** All input tokens; the next two say how they divide, where the vendor does. */
  inputTokens?: number;
  inputTextTokens?: number;
  inputImageTokens?: number;
  outputImageTokens?: number;
  quality?: string;
};

/**
 * The price of a request as it stood at submit, stored with the task: a later change of prices or
 * ratio does not touch it. Amounts are micro-USD a picture, before the ratio unless said otherwise.
 */
export type FrozenPrice = {
  ratioPpm: number;
  /** One of the tiers, or both with `official_fallback`. */
  tiers: Partial<Record<Tier, TierPrice>>;
  /** Hold for one picture, ratio applied: the dearest possible outcome. */
  holdEach: Micros;
  /** What one picture will probably cost, ratio applied. */
  likelyEach: Micros;
};

export type TierPrice =
  | { billing: "picture"; each: Micros }
  /**
   * gpt with `quality: auto`: charged by the quality that the vendor echoes. `fallback` is the quality
   * when it echoes none that is known, `above` the one for everything better than the best in `by`.
   */
  | { billing: "quality"; by: Record<string, Micros>; fallback: string; above: string }
  /** Rates in micro-USD per million tokens; `hold` bounds the tokens of a picture, `likely` estimates them. */
  | {
      billing: "tokens";
      textInput: Micros;
      imageInput: Micros;
      imageOutput: Micros;
      hold: TokenCounts;
      likely: TokenCounts;
    };

/** Tokens of one picture. */
export type TokenCounts = { textInput: number; imageInput: number; imageOutput: number };

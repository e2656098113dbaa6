/** Tokens of one picture, of models that are billed by them: what may be used at most, and what usually is. */
import { must } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import type { ImageRequest, TokenCounts } from "./model.ts";
import { pixelCountMax, promisedPicture } from "./pixels.ts";
import type { Model, TokenOutput, TokenRule } from "./row.ts";

/** What sets token counts beside the parameters. */
export type PromptFacts = {
  references: number;
  /** UTF-8 bytes of the prompt. */
  promptBytes: number;
};

/** What the sandbox says a picture used. Absent figures are absent. */
export type SandboxUsage = {
  inputTokens?: number;
  inputTextTokens?: number;
  inputImageTokens?: number;
  outputTokens?: number;
  outputImageTokens?: number;
};

/** One picture of the sandbox, with the pixels it really has. */
export type SandboxWork = PromptFacts & {
  parameters: JsonObject;
  width: number;
  height: number;
};

/** The quality tables are stated at this many pixels. */
const statedPixels = 1024 * 1024;
/** About four bytes of text make a token; one is the least a token can have. */
const bytesPerToken = 4;

/** No larger use is charged: every byte a token, every reference and picture at its most. */
export function boundTokens(
  model: Model,
  rule: TokenRule,
  request: ImageRequest,
  facts: PromptFacts,
): TokenCounts {
  return {
    textInput: rule.promptOverhead + facts.promptBytes,
    imageInput: rule.referenceHold * facts.references,
    imageOutput: outputTokens(rule.output, dearest(rule.output, request.parameters), {
      pixels: pixelCountMax(model, request, facts.references),
      // A small picture is not known to use less than a square one.
      pixelsMin: statedPixels,
    }),
  };
}

export function estimateTokens(
  model: Model,
  rule: TokenRule,
  request: ImageRequest,
  facts: PromptFacts,
): TokenCounts {
  const { width, height } = promisedPicture(model, request, null, false);
  return usualTokens(rule, { ...facts, parameters: request.parameters, width, height });
}

/** Usage that the sandbox reports for one picture; empty for models that are not billed by token. */
export function sandboxUsage(model: Model, work: SandboxWork): SandboxUsage {
  if (model.prices.billing !== "tokens") return {};
  const counts = usualTokens(model.prices.tokens, work);
  return {
    inputTokens: counts.textInput + counts.imageInput,
    inputTextTokens: counts.textInput,
    inputImageTokens: counts.imageInput,
    outputTokens: counts.imageOutput,
    outputImageTokens: counts.imageOutput,
  };
}

function usualTokens(rule: TokenRule, work: SandboxWork): TokenCounts {
  const quality = qualityOf(rule.output, work.parameters);
  return {
    textInput: Math.ceil(work.promptBytes / bytesPerToken),
    imageInput: rule.referenceLikely * work.references,
    imageOutput: outputTokens(rule.output, quality, {
      pixels: work.width * work.height,
      pixelsMin: 0,
    }),
  };
}

function outputTokens(
  output: TokenOutput,
  quality: string,
  size: { pixels: number; pixelsMin: number },
): number {
  if (output.kind === "fixed") return output.tokens;
  const stated = must(output.by[quality], `output tokens of quality ${quality}`);
  return Math.ceil((stated * Math.max(size.pixels, size.pixelsMin)) / statedPixels);
}

function qualityOf(output: TokenOutput, parameters: JsonObject): string {
  if (output.kind === "fixed") return "";
  const { quality } = parameters;
  return typeof quality === "string" && quality !== output.auto ? quality : output.fallback;
}

/** The quality to hold for: the caller's own, or with `auto` the one that uses most. */
function dearest(output: TokenOutput, parameters: JsonObject): string {
  if (output.kind === "fixed") return "";
  const { quality } = parameters;
  if (typeof quality === "string" && quality !== output.auto) return quality;
  const [most] = Object.entries(output.by).toSorted(([, a], [, b]) => b - a);
  return must(most, "a quality")[0];
}

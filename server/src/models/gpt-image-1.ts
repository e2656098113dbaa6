import { mebibyte } from "./row.ts";
import type { ChoiceParameter, IntegerParameter, Model } from "./row.ts";

/** Parameters that later gpt-image models share. */
export const gptBackground: ChoiceParameter = {
  type: "choice",
  name: "background",
  description: "Background; transparent needs a format with an alpha channel, png for preference.",
  values: ["auto", "opaque", "transparent"],
  default: "auto",
};

export const gptModeration: ChoiceParameter = {
  type: "choice",
  name: "moderation",
  description: "How strictly content is filtered; low is more lenient.",
  values: ["auto", "low"],
  default: "auto",
};

export const gptCompression: IntegerParameter = {
  type: "integer",
  name: "output_compression",
  description: "Compression quality of lossy formats, 100 the best; has no effect on png.",
  min: 0,
  max: 100,
  ignoredWhen: { kind: "equals", parameter: "output_format", value: "png" },
};

const image1: Model = {
  id: "gpt-image-1-official",
  family: "gpt-image-1",
  provider: "openai",
  upstreamModel: "gpt-image-2.5-flare",
  ownedBy: "openai",
  description: "Puts stability first: general picture making.",
  notes: [
    "Transparent backgrounds want output_format png; with jpeg they are refused.",
    "References must stay reachable: use public, stable URLs or an upload.",
    "A mask needs an alpha channel, at least one transparent pixel and the first reference's size.",
    "Charged for delivered pictures only; quality auto holds the price of high and is charged by the quality the vendor reports.",
  ],
  billing: "Size x Quality",
  estimatedSeconds: 100,
  prompt: { codePointsMax: 32_000 },
  pictures: { max: 4, outside: "clamped" },
  references: {
    countMax: 15,
    bytesMax: 20 * mebibyte,
    pixelsMax: 50_000_000,
    accepts: ["url", "data"],
  },
  mask: { result: "promised" },
  officialFallback: false,
  parameters: [
    {
      type: "choice",
      name: "size",
      description: "Aspect ratio, also of pictures made from references.",
      values: ["1:1", "3:2", "2:3"],
      default: "1:1",
    },
    {
      type: "choice",
      name: "quality",
      description: "Higher is slower and dearer; auto leaves the choice to the model.",
      values: ["auto", "low", "medium", "high"],
      default: "auto",
      foldCase: true,
    },
    gptBackground,
    gptModeration,
    {
      type: "choice",
      name: "output_format",
      description: "File format: png for transparency, jpeg for small files.",
      values: ["png", "jpeg"],
      default: "png",
    },
    gptCompression,
  ],
  conflicts: [
    {
      parameter: "background",
      value: "transparent",
      other: "output_format",
      otherValue: "jpeg",
    },
  ],
  pixels: {
    table: {
      "*": {
        "1:1": { width: 1024, height: 1024 },
        "2:3": { width: 1024, height: 1536 },
        "3:2": { width: 1536, height: 1024 },
      },
    },
    isExact: true,
  },
  format: { parameter: "output_format", words: { png: "png", jpeg: "jpeg" }, isExact: true },
  prices: {
    billing: "picture",
    by: ["size", "quality"],
    auto: { parameter: "quality", value: "auto", fallback: "medium", above: "high" },
    tables: {
      official: {
        "1:1/low": 11_000,
        "1:1/medium": 42_000,
        "1:1/high": 167_000,
        "2:3/low": 16_000,
        "2:3/medium": 63_000,
        "2:3/high": 250_000,
        "3:2/low": 16_000,
        "3:2/medium": 63_000,
        "3:2/high": 250_000,
      },
    },
  },
};

const image15: Model = {
  ...image1,
  id: "gpt-image-1.5-official",
  upstreamModel: "gpt-image-2.5-sunburst",
  description: "The newer version: higher quality and complex edits.",
  prices: {
    billing: "picture",
    by: ["size", "quality"],
    auto: { parameter: "quality", value: "auto", fallback: "medium", above: "high" },
    tables: {
      official: {
        "1:1/low": 9_000,
        "1:1/medium": 34_000,
        "1:1/high": 133_000,
        "2:3/low": 13_000,
        "2:3/medium": 51_000,
        "2:3/high": 200_000,
        "3:2/low": 13_000,
        "3:2/medium": 50_000,
        "3:2/high": 199_000,
      },
    },
  },
};

export const gptImageOne: readonly Model[] = [image1, image15];

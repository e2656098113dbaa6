import { gptBackground, gptCompression, gptModeration } from "./gpt-image-1.ts";
import { withPortraits } from "./ratios.ts";
import { mebibyte } from "./row.ts";
import type { ChoiceParameter, Model, TokenRule } from "./row.ts";

const oneK = {
  "1:1": { width: 1024, height: 1024 },
  ...withPortraits({
    "3:2": [1536, 1024],
    "4:3": [1024, 768],
    "5:4": [1280, 1024],
    "16:9": [1536, 864],
    "2:1": [2048, 1024],
    "3:1": [1536, 512],
    "21:9": [2016, 864],
  }),
};

const twoK = {
  "1:1": { width: 2048, height: 2048 },
  ...withPortraits({
    "3:2": [2048, 1360],
    "4:3": [2048, 1536],
    "5:4": [2560, 2048],
    "16:9": [2048, 1152],
    "2:1": [2688, 1344],
    "3:1": [3072, 1024],
    "21:9": [2688, 1152],
  }),
};

const fourK = {
  "1:1": { width: 2880, height: 2880 },
  ...withPortraits({
    "3:2": [3520, 2336],
    "4:3": [3312, 2480],
    "5:4": [3216, 2576],
    "16:9": [3840, 2160],
    "2:1": [3840, 1920],
    "3:1": [3840, 1280],
    "21:9": [3840, 1648],
  }),
};

const quality: ChoiceParameter = {
  type: "choice",
  name: "quality",
  description: "Higher is slower and dearer; auto leaves the choice to the model.",
  values: ["auto", "low", "medium", "high"],
  default: "auto",
  foldCase: true,
};

/**
 * The vendor counts about one token for 1,024 pixels of a reference, and high fidelity adds several
 * thousand; no reference is known to have cost 4,096.
 */
const referenceTokens = { referenceHold: 4_096, referenceLikely: 1_024 };

/** 0.006, 0.053 and 0.211 USD a square picture at 30 USD per million. */
const tokens: TokenRule = {
  promptOverhead: 64,
  ...referenceTokens,
  output: {
    kind: "quality",
    by: { low: 196, medium: 1_756, high: 7_024 },
    auto: "auto",
    fallback: "medium",
  },
};

/** Generation 2.5 spends less at medium and high, and has two qualities above. */
const tokensTwoFive: TokenRule = {
  promptOverhead: 64,
  ...referenceTokens,
  output: {
    kind: "quality",
    by: { low: 196, medium: 439, high: 1_756, xhigh: 3_122, max: 7_024 },
    auto: "auto",
    fallback: "medium",
  },
};

const rows = { textInput: "input/text", imageInput: "input/image", imageOutput: "output" };
const rates = { "input/text": 5_000_000, "input/image": 8_000_000, output: 30_000_000 };

const image2: Model = {
  id: "gpt-image-2-official",
  family: "gpt-image-2",
  provider: "openai",
  upstreamModel: "gpt-image-2",
  ownedBy: "openai",
  description: "Free choice of ratio or pixels up to 4K, with up to 16 references and masks.",
  notes: [
    "Without size a picture made from references takes the offered ratio nearest the first one.",
    "Transparent backgrounds want output_format png or webp; with jpeg they are refused.",
    "A mask needs an alpha channel, at least one transparent pixel and the first reference's size.",
    "Charged by the tokens the vendor reports, at most the hold; pictures above 1024x1024 are held in proportion to their pixels.",
  ],
  billing: "Tokens",
  estimatedSeconds: 100,
  prompt: { codePointsMax: 32_000 },
  pictures: { max: 4, outside: "refused" },
  references: {
    countMax: 16,
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
      description:
        "Aspect ratio, or pixels such as 1536x1024. `auto` means 1:1; absent, a picture made from references takes the ratio nearest the first one.",
      values: ["auto", ...Object.keys(oneK)],
      defaultWithoutReferences: "1:1",
      means: { auto: "1:1" },
      pixels: {
        multipleOf: 16,
        sideMax: 3_840,
        ratioMax: 3,
        pixelsMin: 655_360,
        pixelsMax: 8_294_400,
      },
    },
    {
      type: "choice",
      name: "resolution",
      description: "Resolution tier of a ratio; has no effect when size is given in pixels.",
      values: ["1k", "2k", "4k"],
      default: "1k",
      foldCase: true,
      ignoredWhen: { kind: "pixels" },
    },
    quality,
    gptBackground,
    gptModeration,
    {
      type: "choice",
      name: "output_format",
      description: "File format: png or webp for transparency, jpeg for small files.",
      values: ["png", "jpeg", "webp"],
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
  pixels: { table: { "1k": oneK, "2k": twoK, "4k": fourK }, isExact: true },
  format: {
    parameter: "output_format",
    words: { png: "png", jpeg: "jpeg", webp: "webp" },
    isExact: true,
  },
  prices: { billing: "tokens", rows, tokens, tables: { official: rates } },
};

const twoFive: Model = {
  ...image2,
  id: "gpt-image-2.5-flare",
  upstreamModel: "gpt-image-2.5-flare",
  description: "Generation 2.5, the quick one: five qualities, any ratio or pixels up to 4K.",
  parameters: image2.parameters.map((parameter) =>
    parameter.name === "quality"
      ? { ...quality, values: [...quality.values, "xhigh", "max"] }
      : parameter,
  ),
  prices: { billing: "tokens", rows, tokens: tokensTwoFive, tables: { standard: rates } },
};

const sunburst: Model = {
  ...twoFive,
  id: "gpt-image-2.5-sunburst",
  upstreamModel: "gpt-image-2.5-sunburst",
  description: "Generation 2.5, the careful one: five qualities, any ratio or pixels up to 4K.",
};

export const gptImageTwo: readonly Model[] = [image2, twoFive, sunburst];

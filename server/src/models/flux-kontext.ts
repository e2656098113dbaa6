import { withPortraits } from "./ratios.ts";
import { mebibyte } from "./row.ts";
import type { Model } from "./row.ts";

const pro: Model = {
  id: "flux-kontext-pro",
  family: "flux-kontext",
  provider: "bfl",
  upstreamModel: "flux-kontext-pro",
  ownedBy: "black-forest-labs",
  description: "FLUX.1 Kontext pro: edits one picture as the prompt says, or makes a new one.",
  notes: [
    "The reference must be a public, stable URL; files go through POST /v1/uploads/images first.",
    "Links to results work for 24 hours by default.",
  ],
  billing: "Fixed price per picture",
  estimatedSeconds: 30,
  prompt: { codePointsMax: 32_000 },
  pictures: { max: 1, outside: "refused" },
  references: {
    countMax: 1,
    bytesMax: 20 * mebibyte,
    pixelsMax: 50_000_000,
    accepts: ["url"],
  },
  mask: null,
  officialFallback: false,
  parameters: [
    {
      type: "choice",
      name: "size",
      description:
        "Aspect ratio. `match_input_image`, the default with a reference, keeps its ratio; `auto` is the same. Without a reference both mean 16:9.",
      values: [
        "match_input_image",
        "auto",
        "1:1",
        "4:3",
        "3:4",
        "16:9",
        "9:16",
        "3:2",
        "2:3",
        "21:9",
        "9:21",
      ],
      default: "match_input_image",
      means: { auto: "match_input_image" },
      meansWithoutReferences: { match_input_image: "16:9" },
    },
    {
      type: "choice",
      name: "response_format",
      description: "File format.",
      values: ["png", "jpg"],
      default: "png",
    },
    {
      type: "integer",
      name: "safety_tolerance",
      description: "How much the content filter lets through; higher is more permissive.",
      min: 0,
      max: 6,
      default: 2,
    },
    {
      type: "boolean",
      name: "prompt_upsampling",
      description: "Let the vendor enrich the prompt.",
      default: false,
    },
  ],
  conflicts: [],
  pixels: {
    table: {
      "*": {
        "1:1": { width: 1024, height: 1024 },
        ...withPortraits({
          "4:3": [1184, 880],
          "3:2": [1248, 832],
          "16:9": [1392, 752],
          "21:9": [1568, 672],
        }),
      },
    },
    match: { word: "match_input_image", pixels: 1_048_576, multipleOf: 16, ratioMax: 21 / 9 },
    isExact: false,
  },
  format: { parameter: "response_format", words: { png: "png", jpg: "jpeg" }, isExact: true },
  prices: { billing: "picture", by: [], tables: { standard: { picture: 40_000 } } },
};

const max: Model = {
  ...pro,
  id: "flux-kontext-max",
  upstreamModel: "flux-kontext-max",
  description: "FLUX.1 Kontext max: the same with higher quality.",
  prices: { billing: "picture", by: [], tables: { standard: { picture: 80_000 } } },
};

export const fluxKontext: readonly Model[] = [pro, max];

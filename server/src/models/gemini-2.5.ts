import { mebibyte } from "./row.ts";
import type { ChoiceParameter, Model, ReferenceRule } from "./row.ts";
import { withPortraits } from "./ratios.ts";

const references: ReferenceRule = {
  countMax: 14,
  bytesMax: 20 * mebibyte,
  pixelsMax: 50_000_000,
  accepts: ["url", "data", "base64"],
};

const size: ChoiceParameter = {
  type: "choice",
  name: "size",
  description:
    "Aspect ratio. `auto` means 1:1 without references; with references the model follows them. With a mask the result keeps the first reference's pixels and size is ignored.",
  values: ["auto", "1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"],
  default: "auto",
  meansWithoutReferences: { auto: "1:1" },
  ignoredWhen: { kind: "masked" },
};

const resolution: ChoiceParameter = {
  type: "choice",
  name: "resolution",
  description: "Resolution tier; this model has only one.",
  values: ["1K"],
  default: "1K",
  foldCase: true,
};

const standard = {
  id: "gemini-2.5-flash-image-preview",
  family: "gemini-2.5",
  provider: "gemini",
  upstreamModel: "gemini-3.1-flash-lite-image",
  ownedBy: "google",
  description: "Fast general image generation, editing with up to 14 references, and inpainting.",
  notes: [
    "A definite ratio gives steadier results than size auto.",
    "A mask needs an alpha channel, at least one transparent pixel and the first reference's size; transparent pixels are repainted.",
    "Every picture carries SynthID, an invisible watermark that cannot be disabled.",
  ],
  billing: "Per picture",
  estimatedSeconds: 30,
  prompt: { codePointsMax: 1_000 },
  pictures: { max: 4, outside: "refused" },
  references,
  mask: { result: "first_reference" },
  officialFallback: true,
  parameters: [size, resolution],
  conflicts: [],
  pixels: {
    table: {
      "1K": {
        "1:1": { width: 1024, height: 1024 },
        ...withPortraits({
          "3:2": [1248, 832],
          "4:3": [1184, 864],
          "5:4": [1152, 896],
          "16:9": [1344, 768],
        }),
        "21:9": { width: 1536, height: 672 },
      },
    },
    isExact: false,
  },
  format: { fixed: "png", isExact: false },
  prices: {
    billing: "picture",
    by: ["resolution"],
    tables: { standard: { "1K": 38_700 }, official: { "1K": 38_700 } },
  },
} as const satisfies Model;

const official: Model = {
  ...standard,
  id: "gemini-2.5-flash-image-preview-official",
  description: `${standard.description} Always through the vendor's official channel.`,
  officialFallback: false,
  prices: { ...standard.prices, tables: { official: { "1K": 38_700 } } },
};

export const geminiTwoFive: readonly Model[] = [standard, official];

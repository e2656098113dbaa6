import { mebibyte } from "./row.ts";
import type {
  BooleanParameter,
  ChoiceParameter,
  IgnoredParameter,
  Model,
  ReferenceRule,
} from "./row.ts";
import { withPortraits } from "./ratios.ts";

const commonRatios = ["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"];
const stripRatios = ["1:4", "4:1", "1:8", "8:1"];

const halfK = {
  "1:1": { width: 512, height: 512 },
  ...withPortraits({
    "3:2": [632, 424],
    "4:3": [600, 448],
    "5:4": [576, 464],
    "16:9": [688, 384],
  }),
  // The vendor's table prints 792x168, which is not 21:9.
  "21:9": { width: 792, height: 336 },
};
const halfKStrips = withPortraits({ "4:1": [1024, 256], "8:1": [1536, 192] });

const oneK = {
  "1:1": { width: 1024, height: 1024 },
  ...withPortraits({
    "3:2": [1264, 848],
    "4:3": [1200, 896],
    "5:4": [1152, 928],
    "16:9": [1376, 768],
  }),
  "21:9": { width: 1584, height: 672 },
};
const oneKStrips = withPortraits({ "4:1": [2048, 512], "8:1": [3072, 384] });

const twoK = {
  "1:1": { width: 2048, height: 2048 },
  ...withPortraits({
    "3:2": [2528, 1696],
    "4:3": [2400, 1792],
    "5:4": [2304, 1856],
    "16:9": [2752, 1536],
  }),
  "21:9": { width: 3168, height: 1344 },
};
const twoKStrips = withPortraits({ "4:1": [4096, 1024], "8:1": [6144, 768] });

const fourK = {
  "1:1": { width: 4096, height: 4096 },
  ...withPortraits({
    "3:2": [5056, 3392],
    "4:3": [4800, 3584],
    "5:4": [4608, 3712],
    "16:9": [5504, 3072],
  }),
  "21:9": { width: 6336, height: 2688 },
};
const fourKStrips = withPortraits({ "4:1": [8192, 2048], "8:1": [12_288, 1536] });

const size: ChoiceParameter = {
  type: "choice",
  name: "size",
  description:
    "Aspect ratio. `auto` means 1:1 without references; with references the model follows them.",
  values: ["auto", ...commonRatios],
  default: "auto",
  meansWithoutReferences: { auto: "1:1" },
};

const references: ReferenceRule = {
  countMax: 14,
  bytesMax: 20 * mebibyte,
  pixelsMax: 50_000_000,
  accepts: ["url", "data"],
};

const watermark = "Every picture carries SynthID, an invisible watermark that cannot be disabled.";
const definiteRatio = "A definite ratio gives steadier results than size auto.";
const tierNames = "Resolution tier; 1K is about a thousand pixels a side.";

const searchIgnored: readonly IgnoredParameter[] = ["google_search", "google_image_search"].map(
  (name) => ({
    type: "ignored",
    name,
    offered: false,
    description: "has no effect: the vendor has not enabled search on this model",
  }),
);

const search: readonly BooleanParameter[] = [
  {
    type: "boolean",
    name: "google_search",
    description: "Let the model look things up with Google Search before it draws.",
    default: false,
  },
  {
    type: "boolean",
    name: "google_image_search",
    description: "Let the search find pictures too; needs google_search.",
    default: false,
    needs: "google_search",
  },
];

const flashLite: Model = {
  id: "gemini-3.1-flash-lite-image",
  family: "gemini-3",
  provider: "gemini-interactions",
  upstreamModel: "gemini-3.1-flash-lite-image",
  ownedBy: "google",
  description: "Nano Banana Lite: quick and cheap 1K pictures with up to 14 references.",
  notes: [
    definiteRatio,
    "References: up to 10 objects and 4 characters work best.",
    "With n above 1 the pictures are made in parallel and only delivered ones are charged; n 1 shows progress picture by picture.",
    "Search flags have no effect here; gemini-3.1-flash-image-preview honours them.",
    watermark,
  ],
  billing: "Tokens",
  estimatedSeconds: 30,
  prompt: { codePointsMax: 32_000 },
  pictures: { max: 4, outside: "refused" },
  references: { ...references, bytesMax: 10 * mebibyte },
  mask: null,
  officialFallback: false,
  parameters: [
    size,
    {
      type: "choice",
      name: "resolution",
      description: "Always 1K; other tiers are lowered to it.",
      values: ["1K"],
      default: "1K",
      lowered: { words: ["0.5K", "2K", "4K"], to: "1K" },
      foldCase: true,
      offered: false,
    },
    ...searchIgnored,
  ],
  conflicts: [],
  pixels: { table: { "1K": oneK }, isExact: false },
  format: { fixed: "jpeg", isExact: false },
  prices: {
    billing: "tokens",
    rows: { textInput: "input", imageInput: "input", imageOutput: "output" },
    tokens: {
      promptOverhead: 64,
      referenceHold: 1_120,
      referenceLikely: 1_120,
      output: { kind: "fixed", tokens: 1_120 },
    },
    tables: { standard: { input: 250_000, output: 30_000_000 } },
  },
};

const flashPrices = { "0.5K": 45_000, "1K": 67_000, "2K": 101_000, "4K": 151_000 };

const flash: Model = {
  id: "gemini-3.1-flash-image-preview",
  family: "gemini-3",
  provider: "gemini",
  upstreamModel: "gemini-nano-banana-2.1",
  ownedBy: "google",
  description: "Nano Banana 2: up to 4K, very long ratios, search and up to 14 references.",
  notes: [definiteRatio, "References: up to 10 objects and 4 characters work best.", watermark],
  billing: "Per picture, by resolution",
  estimatedSeconds: 60,
  prompt: { codePointsMax: 32_000 },
  pictures: { max: 4, outside: "refused" },
  references,
  mask: null,
  officialFallback: true,
  parameters: [
    { ...size, values: ["auto", ...commonRatios, ...stripRatios] },
    {
      type: "choice",
      name: "resolution",
      description: tierNames,
      values: ["0.5K", "1K", "2K", "4K"],
      default: "1K",
      foldCase: true,
    },
    ...search,
  ],
  conflicts: [],
  pixels: {
    table: {
      "0.5K": { ...halfK, ...halfKStrips },
      "1K": { ...oneK, ...oneKStrips },
      "2K": { ...twoK, ...twoKStrips },
      "4K": { ...fourK, ...fourKStrips },
    },
    isExact: false,
  },
  format: { fixed: "jpeg", isExact: false },
  prices: {
    billing: "picture",
    by: ["resolution"],
    tables: { standard: flashPrices, official: flashPrices },
  },
};

const proPrices = { "1K": 134_000, "2K": 134_000, "4K": 240_000 };

const pro: Model = {
  id: "gemini-3-pro-image-preview",
  family: "gemini-3",
  provider: "gemini",
  upstreamModel: "gemini-3-pro-image",
  ownedBy: "google",
  description:
    "Nano Banana Pro: the most careful of the family, up to 4K with up to 14 references.",
  notes: [definiteRatio, watermark],
  billing: "Per picture, by resolution",
  estimatedSeconds: 60,
  prompt: { codePointsMax: 32_000 },
  pictures: { max: 4, outside: "refused" },
  references,
  mask: null,
  officialFallback: true,
  parameters: [
    size,
    {
      type: "choice",
      name: "resolution",
      description: tierNames,
      values: ["1K", "2K", "4K"],
      default: "1K",
      foldCase: true,
    },
  ],
  conflicts: [],
  pixels: { table: { "1K": oneK, "2K": twoK, "4K": fourK }, isExact: false },
  format: { fixed: "jpeg", isExact: false },
  prices: {
    billing: "picture",
    by: ["resolution"],
    tables: { standard: proPrices, official: proPrices },
  },
};

export const geminiThree: readonly Model[] = [flashLite, flash, pro];

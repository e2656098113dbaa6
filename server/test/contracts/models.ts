/** What every model takes, stated once more by hand, for the tests of `models/`. */
import type { JsonObject, JsonValue } from "../../src/lib/json.ts";
import { createCatalogue } from "../../src/models/catalogue.ts";
import type { Submit } from "../../src/models/model.ts";
import { validateSubmit } from "../../src/models/validate.ts";

export const catalogue = createCatalogue();

const ratios10 = ["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"];
const ratios14 = [...ratios10, "1:4", "4:1", "1:8", "8:1"];
const ratios15 = "1:1 3:2 2:3 4:3 3:4 5:4 4:5 16:9 9:16 2:1 1:2 3:1 1:3 21:9 9:21".split(" ");
const ratios9 = ["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9", "9:21"];
const ratios7 = ["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3"];

type Contract = {
  /** What a body with only a prompt comes out as. */
  defaults: JsonObject;
  /** The same with one reference. */
  defaultsWithReference: JsonObject;
  /** Accepted values and what they come out as, without references; `undefined` = left out. */
  accepted: Record<string, readonly (readonly [JsonValue, JsonValue | undefined])[]>;
  refused: Record<string, readonly JsonValue[]>;
  n: "1-4" | "clamped" | "1";
  promptMax: number;
  referencesMax: number;
  forms: readonly ("url" | "data" | "base64")[];
  referenceMebibytes: number;
  mask: boolean;
  officialFallback: boolean;
};

function same(values: readonly JsonValue[]): (readonly [JsonValue, JsonValue])[] {
  return values.map((value) => [value, value]);
}

const geminiSize = { size: [...same(ratios10), ["auto", "1:1"]] } as const;

const gemini25: Contract = {
  defaults: { size: "1:1", resolution: "1K" },
  defaultsWithReference: { size: "auto", resolution: "1K" },
  accepted: { ...geminiSize, resolution: [...same(["1K"]), ["1k", "1K"]] },
  refused: {
    size: ["1:4", "3:5", "1024x1024", "match_input_image", "AUTO", 1, true, ["1:1"], {}],
    resolution: ["2K", "4K", "0.5K", "1", 1],
  },
  n: "1-4",
  promptMax: 1_000,
  referencesMax: 14,
  forms: ["url", "data", "base64"],
  referenceMebibytes: 20,
  mask: true,
  officialFallback: true,
};

const gptOneRefused = {
  size: ["auto", "4:3", "1024x1024", "16:9", 1],
  quality: ["xhigh", "max", "standard", 1],
  background: ["white", false],
  moderation: ["high", 0],
  output_format: ["webp", "jpg", "gif", 1],
  output_compression: [-1, 101, 50.5, "50", true],
};

const gptCommon = {
  background: same(["auto", "opaque", "transparent"]),
  moderation: same(["auto", "low"]),
};

const gptOne: Contract = {
  defaults: {
    size: "1:1",
    quality: "auto",
    background: "auto",
    moderation: "auto",
    output_format: "png",
  },
  defaultsWithReference: {
    size: "1:1",
    quality: "auto",
    background: "auto",
    moderation: "auto",
    output_format: "png",
  },
  accepted: {
    ...gptCommon,
    size: same(["1:1", "3:2", "2:3"]),
    quality: [...same(["auto", "low", "medium", "high"]), ["HIGH", "high"]],
    output_format: same(["png", "jpeg"]),
    output_compression: [
      [0, undefined],
      [100, undefined],
    ],
  },
  refused: gptOneRefused,
  n: "clamped",
  promptMax: 32_000,
  referencesMax: 15,
  forms: ["url", "data"],
  referenceMebibytes: 20,
  mask: true,
  officialFallback: false,
};

const gptTwo: Contract = {
  ...gptOne,
  defaults: { ...gptOne.defaults, resolution: "1k" },
  defaultsWithReference: {
    resolution: "1k",
    quality: "auto",
    background: "auto",
    moderation: "auto",
    output_format: "png",
  },
  accepted: {
    ...gptOne.accepted,
    size: [
      ...same(ratios15),
      ["auto", "1:1"],
      ["1536x1024", "1536x1024"],
      ["1536X1024", "1536x1024"],
      ["3840x2160", "3840x2160"],
      ["3840x1280", "3840x1280"],
      ["640x1024", "640x1024"],
    ],
    resolution: [...same(["1k", "2k", "4k"]), ["4K", "4k"]],
    output_format: same(["png", "jpeg", "webp"]),
  },
  refused: {
    ...gptOneRefused,
    size: ["5:3", "1536x1020", "3856x2160", "3840x1264", "512x512", "3840x2176", "big", 1024],
    resolution: ["0.5k", "8k", 2],
    output_format: ["jpg", "gif", 1],
  },
  n: "1-4",
  referencesMax: 16,
};

const gptTwoFive: Contract = {
  ...gptTwo,
  accepted: {
    ...gptTwo.accepted,
    quality: same(["auto", "low", "medium", "high", "xhigh", "max"]),
  },
  refused: { ...gptTwo.refused, quality: ["hd", 1] },
};

const fluxTwo: Contract = {
  defaults: { size: "1:1", resolution: "1K" },
  defaultsWithReference: { size: "1:1", resolution: "1K" },
  accepted: {
    size: same(ratios7),
    resolution: [...same(["1K", "2K"]), ["1k", "1K"], ["2k", "2K"]],
  },
  refused: { size: ["3:5", "auto", "21:9", "match_input_image", 1], resolution: ["4K", "0.5K", 2] },
  n: "1",
  promptMax: 32_000,
  referencesMax: 8,
  forms: ["url"],
  referenceMebibytes: 20,
  mask: false,
  officialFallback: false,
};

const kontextRest = { response_format: "png", safety_tolerance: 2, prompt_upsampling: false };

const kontext: Contract = {
  ...fluxTwo,
  defaults: { size: "16:9", ...kontextRest },
  defaultsWithReference: { size: "match_input_image", ...kontextRest },
  accepted: {
    size: [...same(ratios9), ["auto", "16:9"], ["match_input_image", "16:9"]],
    response_format: same(["png", "jpg"]),
    safety_tolerance: same([0, 1, 2, 3, 4, 5, 6]),
    prompt_upsampling: same([true, false]),
  },
  refused: {
    size: ["5:4", "1:4", "1024x1024", 1],
    response_format: ["jpeg", "webp", 1],
    safety_tolerance: [-1, 7, 2.5, "2", true],
    prompt_upsampling: ["true", 1],
  },
  referencesMax: 1,
};

export const contracts: Record<string, Contract> = {
  "gemini-2.5-flash-image-preview": gemini25,
  "gemini-2.5-flash-image-preview-official": { ...gemini25, officialFallback: false },
  "gemini-3.1-flash-lite-image": {
    ...gemini25,
    accepted: {
      ...geminiSize,
      resolution: [["1k", "1K"], ...["0.5K", "2K", "4K", "4k"].map((w) => [w, "1K"] as const)],
    },
    refused: { size: ["1:4", "3:5"], resolution: ["8K", "1080p", 1] },
    promptMax: 32_000,
    forms: ["url", "data"],
    referenceMebibytes: 10,
    mask: false,
    officialFallback: false,
  },
  "gemini-3.1-flash-image-preview": {
    ...gemini25,
    defaults: { size: "1:1", resolution: "1K", google_search: false, google_image_search: false },
    defaultsWithReference: {
      size: "auto",
      resolution: "1K",
      google_search: false,
      google_image_search: false,
    },
    accepted: {
      size: [...same(ratios14), ["auto", "1:1"]],
      resolution: [...same(["0.5K", "1K", "2K", "4K"]), ["0.5k", "0.5K"]],
      google_search: same([true, false]),
      google_image_search: same([false]),
    },
    refused: {
      size: ["3:5", "9:21"],
      resolution: ["8K", "512", 1],
      google_search: ["true", 1],
      google_image_search: [true, "false"],
    },
    promptMax: 32_000,
    forms: ["url", "data"],
    mask: false,
  },
  "gemini-3-pro-image-preview": {
    ...gemini25,
    accepted: { ...geminiSize, resolution: [...same(["1K", "2K", "4K"]), ["2k", "2K"]] },
    refused: { size: ["1:4", "8:1"], resolution: ["0.5K", "8K"] },
    promptMax: 32_000,
    forms: ["url", "data"],
    mask: false,
  },
  "gpt-image-1-official": gptOne,
  "gpt-image-1.5-official": gptOne,
  "gpt-image-2-official": gptTwo,
  "gpt-image-2.5-flare": gptTwoFive,
  "gpt-image-2.5-sunburst": gptTwoFive,
  "flux-2-flex": fluxTwo,
  "flux-2-pro": fluxTwo,
  "flux-kontext-pro": kontext,
  "flux-kontext-max": kontext,
};

export function submit(model: string, fields: JsonObject = {}): Submit {
  return validateSubmit(catalogue.load(model), { model, prompt: "a red fox", ...fields });
}

/** The whole contract of every model, stated once more by hand: parameters, references, pixels and prices. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { AppError } from "../lib/errors.ts";
import type { JsonObject, JsonValue } from "../lib/json.ts";
import { createCatalogue } from "./catalogue.ts";
import type { Submit } from "./model.ts";
import { promisedPicture } from "./pixels.ts";
import { captureEach, quote } from "./price.ts";
import { priceRows } from "./price-rows.ts";
import { validateSubmit } from "./validate.ts";

const catalogue = createCatalogue();

const ratios10 = ["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"];
const ratios14 = [...ratios10, "1:4", "4:1", "1:8", "8:1"];
const ratios15 = "1:1 3:2 2:3 4:3 3:4 5:4 4:5 16:9 9:16 2:1 1:2 3:1 1:3 21:9 9:21".split(" ");
const ratios9 = ["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9", "9:21"];
const ratios7 = ["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3"];

const url = "https://example.com/a.png";
const dataUri = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==";
const bareBase64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB";

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

const contracts: Record<string, Contract> = {
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

function submit(model: string, fields: JsonObject = {}): Submit {
  return validateSubmit(catalogue.load(model), { model, prompt: "a red fox", ...fields });
}

function assertRefused(model: string, fields: JsonObject, param: string): AppError {
  let thrown: unknown = null;
  try {
    submit(model, fields);
  } catch (error) {
    thrown = error;
  }
  const label = `${model} with ${JSON.stringify(fields).slice(0, 100)}`;
  assert(thrown instanceof AppError, `${label} is refused`);
  assert.equal(thrown.param, param, label);
  assert.match(thrown.message, new RegExp(param), `${label}: the message names the field`);
  return thrown;
}

it("the catalogue has exactly the models of the contract", () => {
  assert.deepEqual(
    catalogue
      .list()
      .map(({ id }) => id)
      .toSorted(),
    Object.keys(contracts).toSorted(),
  );
});

for (const [model, contract] of Object.entries(contracts)) {
  describe(model, () => {
    it("fills in the defaults, with and without a reference", () => {
      assert.deepEqual(submit(model).request.parameters, contract.defaults);
      const edited = submit(model, { image_urls: [url] });
      assert.deepEqual(edited.request.parameters, contract.defaultsWithReference);
      assert.deepEqual(submit(model).warnings, []);
    });

    it("takes null and the empty text for absent on every optional field", () => {
      const names = [...Object.keys(contract.accepted), "n", "image_urls", "mask_url"];
      names.push("official_fallback", "webhook", "language", "unknown_field");
      for (const nothing of [null, ""]) {
        const body = Object.fromEntries(names.map((name) => [name, nothing]));
        assert.deepEqual(submit(model, body), submit(model));
      }
    });

    it("accepts what its table lists", () => {
      for (const [name, pairs] of Object.entries(contract.accepted)) {
        for (const [value, canonical] of pairs) {
          const { parameters } = submit(model, { [name]: value }).request;
          assert.deepEqual(parameters[name], canonical, `${name} ${JSON.stringify(value)}`);
        }
      }
    });

    it("refuses every other value by name", () => {
      for (const [name, values] of Object.entries(contract.refused)) {
        for (const value of values) {
          const error = assertRefused(model, { [name]: value }, name);
          assert.equal(error.reason, "invalid_parameter");
        }
      }
    });

    it("treats n as its row says", () => {
      assert.equal(submit(model).request.pictures, 1);
      assert.equal(submit(model, { n: 1 }).request.pictures, 1);
      for (const value of ["1", "2", 1.5, true, [1]]) assertRefused(model, { n: value }, "n");
      if (contract.n === "1") {
        for (const value of [0, 2, -1]) {
          assert.equal(assertRefused(model, { n: value }, "n").reason, "unsupported_parameter");
        }
        return;
      }
      for (const value of [2, 3, 4])
        assert.equal(submit(model, { n: value }).request.pictures, value);
      for (const [value, clamped] of [
        [0, 1],
        [-7, 1],
        [5, 4],
        [1_000_000, 4],
      ] as const) {
        if (contract.n === "1-4") {
          assert.equal(assertRefused(model, { n: value }, "n").reason, "invalid_parameter");
          continue;
        }
        const { request, warnings } = submit(model, { n: value });
        assert.equal(request.pictures, clamped);
        assert.deepEqual(
          warnings.map(({ param, code }) => [param, code]),
          [["n", "clamped"]],
        );
      }
    });

    it("counts the prompt in code points", () => {
      const most = "🦊".repeat(contract.promptMax);
      assert.equal(submit(model, { prompt: most }).request.prompt, most);
      assertRefused(model, { prompt: `${most}a` }, "prompt");
      assertRefused(model, { prompt: "a".repeat(contract.promptMax * 3) }, "prompt");
    });

    it("bounds its references and takes the forms of its row", () => {
      const most = Array.from({ length: contract.referencesMax }, () => url);
      assert.equal(submit(model, { image_urls: most }).references.length, most.length);
      assertRefused(model, { image_urls: [...most, url] }, "image_urls");
      const forms = { url, data: dataUri, base64: bareBase64 };
      for (const form of ["url", "data", "base64"] as const) {
        for (const item of [forms[form], { url: forms[form] }]) {
          const body = { image_urls: [item] };
          if (!contract.forms.includes(form)) assertRefused(model, body, "image_urls");
          else {
            const [reference] = submit(model, body).references;
            assert.equal(reference?.kind, form === "url" ? "url" : "data");
          }
        }
      }
      const { references } = catalogue.load(model);
      assert.equal(references?.bytesMax, contract.referenceMebibytes * 1_048_576);
      assert.equal(references.pixelsMax, 50_000_000);
    });

    it("takes a mask or refuses it as its row says", () => {
      const body = { image_urls: [url], mask_url: "https://example.com/mask.png" };
      if (!contract.mask) {
        assert.equal(assertRefused(model, body, "mask_url").reason, "unsupported_parameter");
        return;
      }
      assert.deepEqual(submit(model, body).mask, { kind: "url", url: body.mask_url });
      assertRefused(model, { mask_url: body.mask_url }, "mask_url");
      assertRefused(model, { ...body, image_urls: [] }, "mask_url");
      assertRefused(model, { ...body, mask_url: [body.mask_url] }, "mask_url");
      assertRefused(model, { ...body, mask_url: { url: body.mask_url } }, "mask_url");
    });

    it("takes official_fallback false, and true only where its row says", () => {
      assert.equal(submit(model, { official_fallback: false }).request.officialFallback, false);
      for (const value of ["true", "false", 1, 0]) {
        const error = assertRefused(model, { official_fallback: value }, "official_fallback");
        assert.equal(error.reason, "invalid_parameter");
      }
      if (contract.officialFallback) {
        assert.equal(submit(model, { official_fallback: true }).request.officialFallback, true);
        return;
      }
      const error = assertRefused(model, { official_fallback: true }, "official_fallback");
      assert.equal(error.reason, "unsupported_parameter");
    });

    it("accepts unknown and foreign fields and says that they are ignored", () => {
      const foreign = ["style", "seed", "resolution", "quality", "output_format", "google_search"];
      const known = Object.keys(contract.accepted);
      const body = Object.fromEntries(
        foreign.filter((name) => !known.includes(name)).map((name) => [name, { any: "thing" }]),
      );
      const { warnings, request } = submit(model, body);
      assert.deepEqual(warnings.map(({ param }) => param).toSorted(), Object.keys(body).toSorted());
      assert(warnings.every(({ code }) => code === "ignored"));
      assert.deepEqual(request.parameters, contract.defaults);
    });
  });
}

const gemini25Pixels = {
  "1:1": "1024x1024",
  "2:3": "832x1248",
  "3:2": "1248x832",
  "3:4": "864x1184",
  "4:3": "1184x864",
  "4:5": "896x1152",
  "5:4": "1152x896",
  "9:16": "768x1344",
  "16:9": "1344x768",
  "21:9": "1536x672",
};
const gemini3Pixels: Record<string, readonly [string, string, string, string]> = {
  "1:1": ["512x512", "1024x1024", "2048x2048", "4096x4096"],
  "2:3": ["424x632", "848x1264", "1696x2528", "3392x5056"],
  "3:2": ["632x424", "1264x848", "2528x1696", "5056x3392"],
  "3:4": ["448x600", "896x1200", "1792x2400", "3584x4800"],
  "4:3": ["600x448", "1200x896", "2400x1792", "4800x3584"],
  "4:5": ["464x576", "928x1152", "1856x2304", "3712x4608"],
  "5:4": ["576x464", "1152x928", "2304x1856", "4608x3712"],
  "9:16": ["384x688", "768x1376", "1536x2752", "3072x5504"],
  "16:9": ["688x384", "1376x768", "2752x1536", "5504x3072"],
  "21:9": ["792x336", "1584x672", "3168x1344", "6336x2688"],
};
const gemini3Strips: typeof gemini3Pixels = {
  "1:4": ["256x1024", "512x2048", "1024x4096", "2048x8192"],
  "4:1": ["1024x256", "2048x512", "4096x1024", "8192x2048"],
  "1:8": ["192x1536", "384x3072", "768x6144", "1536x12288"],
  "8:1": ["1536x192", "3072x384", "6144x768", "12288x1536"],
};
const gptTwoPixels: Record<string, readonly [string, string, string]> = {
  "1:1": ["1024x1024", "2048x2048", "2880x2880"],
  "3:2": ["1536x1024", "2048x1360", "3520x2336"],
  "2:3": ["1024x1536", "1360x2048", "2336x3520"],
  "4:3": ["1024x768", "2048x1536", "3312x2480"],
  "3:4": ["768x1024", "1536x2048", "2480x3312"],
  "5:4": ["1280x1024", "2560x2048", "3216x2576"],
  "4:5": ["1024x1280", "2048x2560", "2576x3216"],
  "16:9": ["1536x864", "2048x1152", "3840x2160"],
  "9:16": ["864x1536", "1152x2048", "2160x3840"],
  "2:1": ["2048x1024", "2688x1344", "3840x1920"],
  "1:2": ["1024x2048", "1344x2688", "1920x3840"],
  "3:1": ["1536x512", "3072x1024", "3840x1280"],
  "1:3": ["512x1536", "1024x3072", "1280x3840"],
  "21:9": ["2016x864", "2688x1152", "3840x1648"],
  "9:21": ["864x2016", "1152x2688", "1648x3840"],
};
const fluxTwoPixels: Record<string, readonly [string, string]> = {
  "1:1": ["1440x1440", "1536x1536"],
  "4:3": ["1664x1248", "1824x1368"],
  "3:4": ["1248x1664", "1368x1824"],
  "16:9": ["1920x1080", "2048x1152"],
  "9:16": ["1080x1920", "1152x2048"],
  "3:2": ["1728x1152", "1872x1248"],
  "2:3": ["1152x1728", "1248x1872"],
};
const kontextPixels = {
  "1:1": "1024x1024",
  "4:3": "1184x880",
  "3:4": "880x1184",
  "3:2": "1248x832",
  "2:3": "832x1248",
  "16:9": "1392x752",
  "9:16": "752x1392",
  "21:9": "1568x672",
  "9:21": "672x1568",
};
const gptOnePixels = { "1:1": "1024x1024", "2:3": "1024x1536", "3:2": "1536x1024" };

/** Rows of [fields, pixels] of one model. */
function tiered(
  table: Record<string, readonly string[]>,
  tiers: readonly string[],
  from = 0,
): [JsonObject, string][] {
  return Object.entries(table).flatMap(([size, pixels]) =>
    tiers.map((resolution, index): [JsonObject, string] => [
      { size, resolution },
      pixels[from + index] ?? "",
    ]),
  );
}

function flat(table: Record<string, string>): [JsonObject, string][] {
  return Object.entries(table).map(([size, pixels]) => [{ size }, pixels]);
}

const gptTwoRows: [JsonObject, string][] = [
  ...tiered(gptTwoPixels, ["1k", "2k", "4k"]),
  [{ size: "1008x1024" }, "1008x1024"],
  [{ size: "auto", resolution: "2k" }, "2048x2048"],
  [{}, "1024x1024"],
];

const pixelRows: Record<
  string,
  { rows: [JsonObject, string][]; format: string; isExact: boolean }
> = {
  "gemini-2.5-flash-image-preview": { rows: flat(gemini25Pixels), format: "png", isExact: false },
  "gemini-2.5-flash-image-preview-official": {
    rows: flat(gemini25Pixels),
    format: "png",
    isExact: false,
  },
  "gemini-3.1-flash-lite-image": {
    rows: [
      ...tiered(gemini3Pixels, ["1K"], 1),
      [{ size: "16:9", resolution: "4K" }, "1376x768"],
      [{ size: "auto" }, "1024x1024"],
    ],
    format: "jpeg",
    isExact: false,
  },
  "gemini-3.1-flash-image-preview": {
    rows: tiered({ ...gemini3Pixels, ...gemini3Strips }, ["0.5K", "1K", "2K", "4K"]),
    format: "jpeg",
    isExact: false,
  },
  "gemini-3-pro-image-preview": {
    rows: tiered(gemini3Pixels, ["1K", "2K", "4K"], 1),
    format: "jpeg",
    isExact: false,
  },
  "gpt-image-1-official": { rows: flat(gptOnePixels), format: "png", isExact: true },
  "gpt-image-1.5-official": { rows: flat(gptOnePixels), format: "png", isExact: true },
  "gpt-image-2-official": { rows: gptTwoRows, format: "png", isExact: true },
  "gpt-image-2.5-flare": { rows: gptTwoRows, format: "png", isExact: true },
  "gpt-image-2.5-sunburst": { rows: gptTwoRows, format: "png", isExact: true },
  "flux-2-flex": { rows: tiered(fluxTwoPixels, ["1K", "2K"]), format: "png", isExact: true },
  "flux-2-pro": { rows: tiered(fluxTwoPixels, ["1K", "2K"]), format: "png", isExact: true },
  "flux-kontext-pro": {
    rows: [...flat(kontextPixels), [{}, "1392x752"], [{ size: "auto" }, "1392x752"]],
    format: "png",
    isExact: false,
  },
  "flux-kontext-max": { rows: flat(kontextPixels), format: "png", isExact: false },
};

it("every model promises the pixels and format of its table", () => {
  assert.deepEqual(Object.keys(pixelRows), Object.keys(contracts));
  for (const [id, { rows, format, isExact }] of Object.entries(pixelRows)) {
    for (const [fields, pixels] of rows) {
      const promised = promisedPicture(catalogue.load(id), submit(id, fields).request, null, false);
      const label = `${id} ${JSON.stringify(fields)}`;
      assert.equal(`${promised.width}x${promised.height}`, pixels, label);
      assert.equal(promised.format, format, label);
      assert.equal(promised.isExactSize, isExact, label);
      assert.equal(promised.isExactFormat, !id.startsWith("gemini"), label);
    }
  }
});

it("the format parameter of a model decides the format", () => {
  const rows: [string, JsonObject, string][] = [
    ["gpt-image-1-official", { output_format: "jpeg" }, "jpeg"],
    ["gpt-image-2-official", { output_format: "webp" }, "webp"],
    ["gpt-image-2.5-flare", { output_format: "jpeg" }, "jpeg"],
    ["flux-kontext-pro", { response_format: "jpg" }, "jpeg"],
    ["flux-kontext-max", { response_format: "png" }, "png"],
  ];
  for (const [id, fields, format] of rows) {
    const promised = promisedPicture(catalogue.load(id), submit(id, fields).request, null, false);
    assert.equal(promised.format, format, id);
  }
});

const free = new Map<string, number>();

/** Price of one picture in USD, per id and options, at the model's own tier. */
const prices: [string, JsonObject, number][] = [
  ["gemini-2.5-flash-image-preview", {}, 0.0387],
  ["gemini-2.5-flash-image-preview", { official_fallback: true }, 0.0387],
  ["gemini-2.5-flash-image-preview-official", {}, 0.0387],
  ["gemini-3.1-flash-image-preview", { resolution: "0.5K" }, 0.045],
  ["gemini-3.1-flash-image-preview", {}, 0.067],
  ["gemini-3.1-flash-image-preview", { resolution: "2K", official_fallback: true }, 0.101],
  ["gemini-3.1-flash-image-preview", { resolution: "4K" }, 0.151],
  ["gemini-3-pro-image-preview", {}, 0.134],
  ["gemini-3-pro-image-preview", { resolution: "2K" }, 0.134],
  ["gemini-3-pro-image-preview", { resolution: "4K" }, 0.24],
  ["gpt-image-1-official", { quality: "low" }, 0.011],
  ["gpt-image-1-official", { quality: "medium" }, 0.042],
  ["gpt-image-1-official", { quality: "high" }, 0.167],
  ["gpt-image-1-official", { size: "2:3", quality: "low" }, 0.016],
  ["gpt-image-1-official", { size: "3:2", quality: "low" }, 0.016],
  ["gpt-image-1-official", { size: "2:3", quality: "medium" }, 0.063],
  ["gpt-image-1-official", { size: "3:2", quality: "medium" }, 0.063],
  ["gpt-image-1-official", { size: "2:3", quality: "high" }, 0.25],
  ["gpt-image-1-official", { size: "3:2", quality: "high" }, 0.25],
  ["gpt-image-1.5-official", { quality: "low" }, 0.009],
  ["gpt-image-1.5-official", { quality: "medium" }, 0.034],
  ["gpt-image-1.5-official", { quality: "high" }, 0.133],
  ["gpt-image-1.5-official", { size: "2:3", quality: "low" }, 0.013],
  ["gpt-image-1.5-official", { size: "2:3", quality: "medium" }, 0.051],
  ["gpt-image-1.5-official", { size: "2:3", quality: "high" }, 0.2],
  ["gpt-image-1.5-official", { size: "3:2", quality: "low" }, 0.013],
  ["gpt-image-1.5-official", { size: "3:2", quality: "medium" }, 0.05],
  ["gpt-image-1.5-official", { size: "3:2", quality: "high" }, 0.199],
  ["flux-2-pro", {}, 0.045],
  ["flux-2-pro", { resolution: "2K" }, 0.06],
  ["flux-2-flex", {}, 0.1],
  ["flux-2-flex", { resolution: "2k" }, 0.15],
  ["flux-kontext-pro", {}, 0.04],
  ["flux-kontext-max", {}, 0.08],
];

it("every model with a price a picture costs what its table says, held and charged alike", () => {
  for (const [id, fields, usd] of prices) {
    const model = catalogue.load(id);
    const price = quote(model, submit(id, fields).request, {
      references: 0,
      promptBytes: 9,
      overrides: free,
      ratioPpm: 1_000_000,
    });
    const label = `${id} ${JSON.stringify(fields)}`;
    assert.equal(price.holdEach, Math.round(usd * 1_000_000), label);
    assert.equal(price.likelyEach, price.holdEach, label);
    for (const tier of ["standard", "official"] as const) {
      assert.equal(captureEach(price, { tier }), price.holdEach, label);
    }
  }
});

function rates(id: string): Record<string, number | null> {
  const rows = priceRows(catalogue.load(id));
  return Object.fromEntries(rows.map(({ row, listPrice }) => [row, listPrice]));
}

it("models billed by token carry the vendor's rates per million", () => {
  assert.deepEqual(rates("gemini-3.1-flash-lite-image"), { input: 250_000, output: 30_000_000 });
  for (const id of ["gpt-image-2-official", "gpt-image-2.5-flare", "gpt-image-2.5-sunburst"]) {
    assert.deepEqual(rates(id), {
      "input/text": 5_000_000,
      "input/image": 8_000_000,
      output: 30_000_000,
    });
  }
});

it("a channel knows each model by the vendor's name unless it is told another", () => {
  const names = Object.fromEntries(
    catalogue.list().map(({ id, provider, upstreamModel }) => [id, `${provider}/${upstreamModel}`]),
  );
  assert.deepEqual(names, {
    "gemini-2.5-flash-image-preview": "gemini/gemini-3.1-flash-lite-image",
    "gemini-2.5-flash-image-preview-official": "gemini/gemini-3.1-flash-lite-image",
    "gemini-3.1-flash-lite-image": "gemini-interactions/gemini-3.1-flash-lite-image",
    "gemini-3.1-flash-image-preview": "gemini/gemini-nano-banana-2.1",
    "gemini-3-pro-image-preview": "gemini/gemini-3-pro-image",
    "gpt-image-1-official": "openai/gpt-image-2.5-flare",
    "gpt-image-1.5-official": "openai/gpt-image-2.5-sunburst",
    "gpt-image-2-official": "openai/gpt-image-2",
    "gpt-image-2.5-flare": "openai/gpt-image-2.5-flare",
    "gpt-image-2.5-sunburst": "openai/gpt-image-2.5-sunburst",
    "flux-2-flex": "bfl/flux-2-flex",
    "flux-2-pro": "bfl/flux-2-pro",
    "flux-kontext-pro": "bfl/flux-kontext-pro",
    "flux-kontext-max": "bfl/flux-kontext-max",
  });
});

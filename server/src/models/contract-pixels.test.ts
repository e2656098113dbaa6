/** The pixels and the format that every model promises, stated once more by hand. */
import assert from "node:assert/strict";
import { it } from "node:test";

import { catalogue, contracts, submit } from "../../test/contracts/models.ts";
import type { JsonObject } from "../lib/json.ts";
import { promisedPicture } from "./pixels.ts";

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

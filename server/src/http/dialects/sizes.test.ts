import assert from "node:assert/strict";
import test from "node:test";

import { createCatalogue } from "../../models/catalogue.ts";
import { validateSubmit } from "../../models/validate.ts";
import { mapSize } from "./sizes.ts";

const catalogue = createCatalogue();

test("pixels become the nearest ratio and tier of each family, and stay where they are offered", () => {
  const cases: [model: string, size: string, words: object][] = [
    ["gpt-image-1-official", "1024x1024", { size: "1:1" }],
    ["gpt-image-1-official", "1792x1024", { size: "3:2" }],
    ["gpt-image-1-official", "1024x1792", { size: "2:3" }],
    ["gpt-image-2.5-flare", "1792x1024", { size: "1792x1024" }],
    ["gpt-image-2.5-flare", "512x512", { size: "1:1", resolution: "1k" }],
    ["gpt-image-2.5-flare", "1000x1000", { size: "1:1", resolution: "1k" }],
    ["gpt-image-2.5-flare", "3840x2160", { size: "3840x2160" }],
    ["gemini-3.1-flash-image-preview", "256x256", { size: "1:1", resolution: "0.5K" }],
    ["gemini-3.1-flash-image-preview", "1024x1024", { size: "1:1", resolution: "1K" }],
    ["gemini-3.1-flash-image-preview", "3840x2160", { size: "16:9", resolution: "2K" }],
    ["gemini-3.1-flash-image-preview", "5504x3072", { size: "16:9", resolution: "4K" }],
    ["gemini-3.1-flash-image-preview", "4000x500", { size: "8:1", resolution: "1K" }],
    ["gemini-3-pro-image-preview", "512x512", { size: "1:1", resolution: "1K" }],
    ["gemini-3.1-flash-lite-image", "3840x2160", { size: "16:9", resolution: "1K" }],
    ["gemini-2.5-flash-image-preview", "1024x1792", { size: "9:16", resolution: "1K" }],
    ["flux-2-pro", "1920x1080", { size: "16:9", resolution: "1K" }],
    ["flux-2-pro", "2048x1152", { size: "16:9", resolution: "2K" }],
    ["flux-kontext-pro", "1024x1792", { size: "9:16" }],
    ["flux-kontext-pro", "99999x1", { size: "21:9" }],
  ];
  for (const [id, size, words] of cases) {
    assert.deepEqual(mapSize(catalogue.load(id), size), words, `${id} ${size}`);
  }
});

test("auto is passed to models that know it, and every other word as it is", () => {
  const auto = (id: string) => mapSize(catalogue.load(id), "auto");
  assert.deepEqual(auto("gemini-3-pro-image-preview"), { size: "auto" });
  assert.deepEqual(auto("flux-2-pro"), {});
  for (const word of ["16:9", "7:5", "huge", "0x0", "10x"]) {
    assert.deepEqual(mapSize(catalogue.load("flux-2-pro"), word), { size: word });
  }
});

test("what pixels are mapped to is always taken by the model's contract", () => {
  const sides = [1, 64, 256, 500, 512, 640, 1024, 1080, 1536, 1792, 2160, 3840, 4096];
  for (const model of catalogue.list()) {
    for (const width of sides) {
      for (const height of sides) {
        const words = mapSize(model, `${width}x${height}`);
        validateSubmit(model, { model: model.id, prompt: "a fox", ...words });
      }
    }
  }
});

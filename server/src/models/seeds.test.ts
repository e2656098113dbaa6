/** Every request body printed in the five documents that the contract began with is accepted as it is. */
import assert from "node:assert/strict";
import { it } from "node:test";

import type { JsonObject } from "../lib/json.ts";
import { createCatalogue } from "./catalogue.ts";
import { promisedPicture } from "./pixels.ts";
import { parseModelField, validateSubmit } from "./validate.ts";

type Case = {
  body: JsonObject & { prompt: string };
  pictures: number;
  pixels: string;
  format: string;
};

/** `pixels` are those for a first reference of 640x480, where the request follows it. */
const cases: readonly Case[] = [
  {
    body: {
      model: "gemini-2.5-flash-image-preview",
      prompt: "A bamboo forest path under moonlight",
      size: "1:1",
      n: 1,
      image_urls: ["https://openai-documentation.vercel.app/images/cat_and_otter.png"],
    },
    pictures: 1,
    pixels: "1024x1024",
    format: "png",
  },
  {
    body: {
      model: "gemini-3.1-flash-lite-image",
      prompt: "赛博朋克风格的城市夜景,霓虹灯闪烁",
      size: "16:9",
      resolution: "1K",
      n: 1,
    },
    pictures: 1,
    pixels: "1376x768",
    format: "jpeg",
  },
  {
    body: {
      model: "gpt-image-1-official",
      prompt: "An ancient castle under a starry sky",
      size: "1:1",
      quality: "auto",
      n: 1,
    },
    pictures: 1,
    pixels: "1024x1024",
    format: "png",
  },
  {
    body: { model: "gpt-image-1-official", prompt: "An ancient castle under a starry sky" },
    pictures: 1,
    pixels: "1024x1024",
    format: "png",
  },
  {
    body: {
      model: "gpt-image-1-official",
      prompt: "A flat icon of a glass bottle with no background",
      size: "2:3",
      quality: "high",
      background: "transparent",
      moderation: "low",
      output_format: "png",
      n: 1,
    },
    pictures: 1,
    pixels: "1024x1536",
    format: "png",
  },
  {
    body: {
      model: "gpt-image-1.5-official",
      prompt: "Convert the reference image to illustration style, preserving the main outline",
      size: "1:1",
      quality: "auto",
      image_urls: ["https://your-cdn.com/input.png"],
      n: 1,
    },
    pictures: 1,
    pixels: "1024x1024",
    format: "png",
  },
  {
    body: {
      model: "gpt-image-1.5-official",
      prompt:
        "Merge two reference images into an illustration poster, preserving the main outlines",
      size: "1:1",
      quality: "auto",
      background: "transparent",
      image_urls: ["https://your-cdn.com/input-a.png", "https://your-cdn.com/input-b.png"],
      moderation: "low",
      output_format: "png",
      n: 1,
    },
    pictures: 1,
    pixels: "1024x1024",
    format: "png",
  },
  {
    body: {
      model: "gpt-image-1-official",
      prompt: "Four minimalist poster variations of a red fox",
      size: "1:1",
      quality: "low",
      output_format: "png",
      n: 4,
    },
    pictures: 4,
    pixels: "1024x1024",
    format: "png",
  },
  {
    body: {
      model: "flux-2-flex",
      prompt: "A blue cat on the grass",
      resolution: "1K",
      size: "16:9",
    },
    pictures: 1,
    pixels: "1920x1080",
    format: "png",
  },
  {
    body: { model: "flux-2-flex", prompt: "A blue cat", resolution: "1K", size: "16:9" },
    pictures: 1,
    pixels: "1920x1080",
    format: "png",
  },
  {
    body: {
      model: "flux-2-pro",
      prompt: "Detailed landscape painting with mountains and rivers",
      resolution: "2K",
      size: "16:9",
    },
    pictures: 1,
    pixels: "2048x1152",
    format: "png",
  },
  {
    body: {
      model: "flux-2-flex",
      prompt: "Convert image to watercolor style",
      image_urls: ["https://example.com/input1.jpg", "https://example.com/input2.jpg"],
      resolution: "1K",
    },
    pictures: 1,
    pixels: "1440x1440",
    format: "png",
  },
  {
    body: {
      model: "flux-kontext-pro",
      prompt: "Change hair color to blue",
      image_urls: ["https://example.com/input.png"],
      size: "16:9",
    },
    pictures: 1,
    pixels: "1392x752",
    format: "png",
  },
  {
    body: {
      model: "flux-kontext-pro",
      prompt: "Change background to beach",
      image_urls: ["https://example.com/photo.jpg"],
    },
    pictures: 1,
    pixels: "1184x880",
    format: "png",
  },
  {
    body: { model: "flux-kontext-pro", prompt: "A blue cat", size: "16:9" },
    pictures: 1,
    pixels: "1392x752",
    format: "png",
  },
];

const catalogue = createCatalogue();

for (const { body, pictures, pixels, format } of cases) {
  const id = parseModelField(body);
  it(`${id}: ${body.prompt.slice(0, 40)}… is accepted without a warning`, () => {
    const model = catalogue.load(id);
    const submit = validateSubmit(model, body);
    assert.deepEqual(submit.warnings, []);
    assert.equal(submit.request.pictures, pictures);
    assert.deepEqual(
      submit.references,
      Array.isArray(body["image_urls"])
        ? body["image_urls"].map((url) => ({ kind: "url", url }))
        : [],
    );
    const first = submit.references.length > 0 ? { width: 640, height: 480 } : null;
    const promised = promisedPicture(model, submit.request, first, false);
    assert.equal(`${promised.width}x${promised.height}`, pixels);
    assert.equal(promised.format, format);
  });
}

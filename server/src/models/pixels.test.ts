import assert from "node:assert/strict";
import { it } from "node:test";

import * as fc from "fast-check";

import type { JsonObject } from "../lib/json.ts";
import { createCatalogue } from "./catalogue.ts";
import { pixelCountMax, promisedPicture } from "./pixels.ts";
import type { PromisedPicture } from "./pixels.ts";
import { validateSubmit } from "./validate.ts";

const catalogue = createCatalogue();
const reference = "https://example.com/a.png";

/** What an edit of one reference of this size promises. */
function edit(id: string, fields: JsonObject, size: readonly [number, number]): PromisedPicture {
  const model = catalogue.load(id);
  const body = { model: id, prompt: "a fox", image_urls: [reference], ...fields };
  const { request, mask } = validateSubmit(model, body);
  const [width, height] = size;
  return promisedPicture(model, request, { width, height }, mask !== null);
}

function pixels({ width, height }: PromisedPicture): string {
  return `${width}x${height}`;
}

it("size auto takes the table's ratio nearest the first reference", () => {
  const rows: [string, JsonObject, readonly [number, number], string][] = [
    ["gemini-2.5-flash-image-preview", {}, [1000, 1000], "1024x1024"],
    ["gemini-2.5-flash-image-preview", { size: "auto" }, [1600, 900], "1344x768"],
    ["gemini-2.5-flash-image-preview", {}, [10, 10_000], "768x1344"],
    ["gemini-3.1-flash-lite-image", {}, [300, 200], "1264x848"],
    ["gemini-3.1-flash-image-preview", { resolution: "0.5K" }, [10, 10_000], "192x1536"],
    ["gemini-3-pro-image-preview", { resolution: "4K" }, [4000, 1000], "6336x2688"],
    ["gpt-image-2-official", {}, [900, 1600], "864x1536"],
    ["gpt-image-2.5-flare", { resolution: "4k" }, [3000, 1000], "3840x1280"],
  ];
  for (const [id, fields, size, expected] of rows) {
    assert.equal(pixels(edit(id, fields, size)), expected, `${id} ${size.join("x")}`);
  }
});

it("a definite size wins over the first reference", () => {
  assert.equal(pixels(edit("gpt-image-2-official", { size: "auto" }, [900, 1600])), "1024x1024");
  assert.equal(pixels(edit("gpt-image-1-official", {}, [900, 1600])), "1024x1024");
  assert.equal(pixels(edit("flux-2-pro", {}, [900, 1600])), "1440x1440");
  assert.equal(pixels(edit("flux-kontext-pro", { size: "21:9" }, [900, 1600])), "1568x672");
});

it("a mask on gemini-2.5 keeps the first reference's pixels, as png", () => {
  const mask = { mask_url: reference, size: "16:9" };
  const promised = edit("gemini-2.5-flash-image-preview", mask, [801, 603]);
  assert.deepEqual(promised, {
    width: 801,
    height: 603,
    format: "png",
    isExactSize: true,
    isExactFormat: true,
  });
  assert.equal(
    pixels(edit("gpt-image-1-official", { mask_url: reference }, [801, 603])),
    "1024x1024",
  );
});

it("match_input_image keeps any reference's ratio at about one megapixel in multiples of 16", () => {
  assert.equal(pixels(edit("flux-kontext-pro", {}, [3000, 3000])), "1024x1024");
  assert.equal(pixels(edit("flux-kontext-pro", { size: "auto" }, [400, 300])), "1184x880");
  assert.equal(pixels(edit("flux-kontext-max", {}, [2, 20_000])), "672x1568");
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12_000 }),
      fc.integer({ min: 1, max: 12_000 }),
      (w, h) => {
        const { width, height } = edit("flux-kontext-pro", {}, [w, h]);
        assert.equal(width % 16, 0);
        assert.equal(height % 16, 0);
        assert.ok(Math.abs(width * height - 1_048_576) < 0.05 * 1_048_576);
        const wanted = Math.min(Math.max(w / h, 9 / 21), 21 / 9);
        assert.ok(Math.abs(Math.log(width / height / wanted)) < 0.03);
      },
    ),
  );
});

it("the largest possible picture bounds every picture that a reference can lead to", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...catalogue.list().map(({ id }) => id)),
      fc.integer({ min: 1, max: 9_000 }),
      fc.integer({ min: 1, max: 9_000 }),
      (id, w, h) => {
        const model = catalogue.load(id);
        const body = { model: id, prompt: "a fox", image_urls: [reference] };
        const { request } = validateSubmit(model, body);
        const { width, height } = edit(id, {}, [w, h]);
        // match_input_image is priced per picture, so only table sizes need the bound.
        if (request.parameters["size"] === "match_input_image") return;
        assert.ok(width * height <= pixelCountMax(model, request, 1));
      },
    ),
  );
});

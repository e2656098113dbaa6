import assert from "node:assert/strict";
import { it } from "node:test";

import { AppError } from "../lib/errors.ts";
import { builtInModels, createCatalogue } from "./catalogue.ts";
import { findContradictions } from "./check-model.ts";
import { fluxKontext } from "./flux-kontext.ts";
import { gptImageOne } from "./gpt-image-1.ts";
import { gptImageTwo } from "./gpt-image-2.ts";
import type { Model } from "./row.ts";

const catalogue = createCatalogue();
const [kontext] = fluxKontext;
const [gptOne] = gptImageOne;
const [gptTwo] = gptImageTwo;
assert(kontext !== undefined && gptOne !== undefined && gptTwo !== undefined);

it("an unknown model is told the nearest names", () => {
  const rows: [string, string][] = [
    ["gemini-3.1-flash-lite-image-official", "gemini-3.1-flash-lite-image"],
    ["flux-kontext", "flux-kontext-pro"],
    ["flux2-pro", "flux-2-pro"],
    ["GPT-Image-1", "gpt-image-1-official"],
    ["gpt-image-2.5", "gpt-image-2.5-flare"],
    ["gemini-2.5-flash-image", "gemini-2.5-flash-image-preview"],
  ];
  for (const [id, nearest] of rows) {
    assert.equal(catalogue.find(id), null);
    assert.equal(catalogue.nearest(id)[0], nearest, id);
    assert.throws(
      () => catalogue.load(id),
      (error) =>
        error instanceof AppError &&
        error.reason === "model_not_found" &&
        error.param === "model" &&
        error.message.includes(nearest),
    );
  }
});

it("an id of any length and content is looked up in bounded time with a bounded message", () => {
  for (const id of ["", "x".repeat(5_000_000), "\0\ud800", "__proto__", "constructor"]) {
    assert.equal(catalogue.find(id), null);
    assert.throws(
      () => catalogue.load(id),
      (error) => error instanceof AppError && error.message.length < 500,
    );
  }
});

it("the rows that come with Darkroom do not contradict themselves and are plain data", () => {
  for (const model of builtInModels) {
    assert.deepEqual(findContradictions(model), [], model.id);
    assert.deepEqual(JSON.parse(JSON.stringify(model)), model, model.id);
  }
});

it("a row that contradicts itself is refused with the reason", () => {
  const size = { type: "choice", name: "size", description: "", values: ["1:1"] } as const;
  const rows: [Model, RegExp][] = [
    [{ ...kontext, id: "Not A Name" }, /id is not a plain name/],
    [{ ...kontext, estimatedSeconds: 0.5 }, /estimatedSeconds/],
    [{ ...kontext, mask: { result: "promised" }, references: null }, /mask without references/],
    [{ ...kontext, parameters: [...kontext.parameters, size] }, /size stands twice/],
    [{ ...kontext, parameters: [{ ...size, name: "prompt" }] }, /prompt has a reserved name/],
    [{ ...gptOne, parameters: [{ ...size, default: "9:9" }] }, /size knows no "9:9"/],
    [{ ...gptOne, parameters: [{ ...size, values: ["7:5"] }] }, /no pixels for 7:5/],
    [{ ...kontext, parameters: [{ ...size, means: { a: "1:1" } }] }, /size knows no "a"/],
    [{ ...kontext, parameters: [size] }, /response_format, which has no default/],
    [
      { ...gptOne, conflicts: [{ parameter: "a", value: "b", other: "c", otherValue: "d" }] },
      /conflict/,
    ],
    [{ ...kontext, officialFallback: true }, /official_fallback without a price/],
    [
      {
        ...kontext,
        prices: { billing: "picture", by: [], tables: { standard: { picture: 0.5 } } },
      },
      /not whole micro-USD/,
    ],
    [{ ...kontext, prices: { billing: "picture", by: [], tables: {} } }, /no prices/],
    [
      { ...kontext, prices: { billing: "picture", by: ["size"], tables: { standard: {} } } },
      /no standard price row/,
    ],
    [
      { ...gptTwo, parameters: [{ ...size, name: "quality", values: ["ultra"] }] },
      /no output tokens for quality ultra/,
    ],
  ];
  for (const [row, reason] of rows) {
    assert.match(findContradictions(row).join("; "), reason);
    assert.throws(() => createCatalogue([row]), reason);
  }
  assert.throws(() => createCatalogue([kontext, kontext]), /twice/);
});

it("a new model of a known family is one more row", () => {
  const own = createCatalogue([...builtInModels, { ...kontext, id: "flux-kontext-mini" }]);
  assert.equal(own.load("flux-kontext-mini").family, "flux-kontext");
  assert.equal(own.list().length, builtInModels.length + 1);
});

import assert from "node:assert/strict";
import { it } from "node:test";

import * as fc from "fast-check";

import { isJsonObject } from "../lib/json.ts";
import type { JsonObject, JsonValue } from "../lib/json.ts";
import { createCatalogue } from "./catalogue.ts";
import { inputSchema } from "./input-schema.ts";
import { presentModel, presentModelDetail } from "./present.ts";
import type { Model, Parameter } from "./row.ts";
import { validateSubmit } from "./validate.ts";

const catalogue = createCatalogue();

/** The keywords of JSON Schema 2020-12 that our schemas use; an unknown one fails the test. */
const keywords: Record<string, (rule: JsonValue, value: JsonValue, schema: JsonObject) => boolean> =
  {
    type: (rule, value) =>
      typeOf(value) === rule || (rule === "number" && typeOf(value) === "integer"),
    const: (rule, value) => rule === value,
    enum: (rule, value) => Array.isArray(rule) && rule.includes(value),
    minimum: (rule, value) => typeof value !== "number" || value >= Number(rule),
    maximum: (rule, value) => typeof value !== "number" || value <= Number(rule),
    minLength: (rule, value) =>
      typeof value !== "string" || Array.from(value).length >= Number(rule),
    maxLength: (rule, value) =>
      typeof value !== "string" || Array.from(value).length <= Number(rule),
    pattern: (rule, value) =>
      typeof value !== "string" || new RegExp(asText(rule), "u").test(value),
    minItems: (rule, value) => !Array.isArray(value) || value.length >= Number(rule),
    maxItems: (rule, value) => !Array.isArray(value) || value.length <= Number(rule),
    items: (rule, value) => !Array.isArray(value) || value.every((item) => isValid(rule, item)),
    required: (rule, value) =>
      !isJsonObject(value) ||
      (Array.isArray(rule) && rule.every((name) => Object.hasOwn(value, asText(name)))),
    properties: (rule, value) =>
      !isJsonObject(value) ||
      Object.entries(isJsonObject(rule) ? rule : {}).every(
        ([name, child]) => !Object.hasOwn(value, name) || isValid(child, value[name] ?? null),
      ),
    additionalProperties: (rule) => rule === true,
    anyOf: (rule, value) => Array.isArray(rule) && rule.some((child) => isValid(child, value)),
    allOf: (rule, value) => Array.isArray(rule) && rule.every((child) => isValid(child, value)),
    not: (rule, value) => !isValid(rule, value),
  };
const annotations = ["$schema", "title", "description", "default", "x-offered"];

function isValid(schema: JsonValue, value: JsonValue): boolean {
  assert(isJsonObject(schema));
  return Object.entries(schema).every(([keyword, rule]) => {
    if (annotations.includes(keyword)) return true;
    const check = keywords[keyword];
    assert(check !== undefined, `keyword ${keyword} is known`);
    return check(rule, value, schema);
  });
}

function asText(value: JsonValue): string {
  assert(typeof value === "string");
  return value;
}

function typeOf(value: JsonValue): string {
  if (Number.isInteger(value)) return "integer";
  if (Array.isArray(value)) return "array";
  return value === null ? "null" : typeof value;
}

function isAccepted(id: string, body: JsonObject): boolean {
  try {
    validateSubmit(catalogue.load(id), body);
    return true;
  } catch {
    return false;
  }
}

const url = "https://example.com/a.png";
/** Mostly what the model offers, now and then what it does not. */
function valueFor(parameter: Parameter): fc.Arbitrary<JsonValue> {
  const odd = fc.constantFrom<JsonValue[]>("odd", "auto", "21:9", "1024x1024", true, 1, -1, 101);
  if (parameter.type === "choice") {
    return fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...parameter.values) }, odd);
  }
  if (parameter.type !== "integer") return fc.oneof({ weight: 9, arbitrary: fc.boolean() }, odd);
  const { min, max } = parameter;
  return fc.oneof({ weight: 9, arbitrary: fc.integer({ min, max }) }, odd);
}

function bodyFor(model: Model): fc.Arbitrary<JsonObject> {
  const own = model.parameters.map((parameter) => [parameter.name, valueFor(parameter)] as const);
  const item = fc.constantFrom<JsonValue[]>(url, { url }, url, { url });
  const common = {
    n: rarely(fc.constantFrom<JsonValue[]>(1, 1, 4, 5, "1")),
    image_urls: fc.oneof(
      { weight: 9, arbitrary: fc.array(item, { maxLength: 3 }) },
      fc.constantFrom<JsonValue[]>(["data:image/png;base64,iVBO"], ["ftp://x"], [1], [{}], 1),
    ),
    mask_url: rarely(fc.constantFrom<JsonValue[]>(url, url, 1)),
    official_fallback: rarely(fc.boolean()),
    style: fc.string(),
  };
  return fc
    .record<Record<string, JsonValue | undefined>, string>(
      { ...Object.fromEntries(own), ...common },
      { requiredKeys: [] },
    )
    .map((fields) => {
      const given: JsonObject = { model: model.id, prompt: "a fox" };
      for (const [name, value] of Object.entries(fields)) {
        if (value !== undefined) given[name] = value;
      }
      return given;
    });
}

function rarely(value: fc.Arbitrary<JsonValue>): fc.Arbitrary<JsonValue | undefined> {
  return fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, value);
}

it("a body that keeps a model's schema is accepted, and one that breaks it is not", () => {
  for (const model of catalogue.list()) {
    const schema = inputSchema(model);
    let kept = 0;
    fc.assert(
      fc.property(bodyFor(model), (given) => {
        const isKept = isValid(schema, given);
        if (isKept) kept += 1;
        // A schema states the range of n also where the validator clamps it.
        const isClamped = given["n"] === 5 && model.pictures.outside === "clamped";
        if (!isClamped) assert.equal(isAccepted(model.id, given), isKept, JSON.stringify(given));
      }),
      { numRuns: 400 },
    );
    assert(kept > 20 && kept < 400, `${kept} bodies kept the schema of ${model.id}`);
  }
});

it("every value that a schema lists is accepted, alone and as the default", () => {
  for (const model of catalogue.list()) {
    const { properties } = inputSchema(model);
    assert(isJsonObject(properties));
    for (const [name, schema] of Object.entries(properties)) {
      assert(isJsonObject(schema));
      const [first] = Array.isArray(schema["anyOf"]) ? schema["anyOf"] : [];
      const listed = schema["enum"] ?? (isJsonObject(first ?? null) ? first : null);
      const values = Array.isArray(listed) ? listed : isJsonObject(listed) ? listed["enum"] : [];
      const fallback = schema["default"];
      const all = Array.isArray(values) ? [...values] : [];
      if (fallback !== undefined) all.push(fallback);
      for (const value of all) {
        assert(isAccepted(model.id, { prompt: "a fox", [name]: value }), `${model.id} ${name}`);
      }
    }
  }
});

it("the list of models shows the fields clients know, and more when asked", () => {
  const model = catalogue.load("gpt-image-1-official");
  assert.deepEqual(presentModel(model), {
    id: "gpt-image-1-official",
    object: "model",
    created: 1_626_777_600,
    owned_by: "openai",
    supported_endpoint_types: ["image-generation", "openai"],
  });
  const pricing = { overrides: new Map([["1:1/low", 20_000]]), ratioPpm: 500_000 };
  const expanded = presentModel(model, { parameters: true, pricing });
  assert(isJsonObject(expanded["parameters"] ?? null));
  assert(isJsonObject(expanded["pricing"] ?? null));
  const rows = JSON.stringify(expanded["pricing"]);
  assert.match(rows, /"row":"1:1\/low","tier":"official","unit":"picture","price":0.01[,}]/);
  assert.match(rows, /"row":"1:1\/high","tier":"official","unit":"picture","price":0.0835[,}]/);
});

it("one model's page says what the documents of its family say", () => {
  const pricing = { overrides: new Map<string, number>(), ratioPpm: 1_000_000 };
  for (const model of catalogue.list()) {
    const page = presentModelDetail(model, pricing);
    assert.deepEqual(page["modes"], ["text-to-image", "image-to-image"]);
    assert.equal(page["image_to_image"], true);
    assert.equal(page["max_images"], model.provider === "bfl" ? 1 : 4);
    assert(typeof page["description"] === "string" && page["description"] !== "");
    assert(typeof page["billing"] === "string" && page["billing"] !== "");
    assert(Array.isArray(page["notes"]) && page["notes"].length > 0);
    assert(Number.isInteger(page["estimated_time"]));
    assert.deepEqual(JSON.parse(JSON.stringify(page)), page);
  }
  const lite = JSON.stringify(
    presentModelDetail(catalogue.load("gemini-3.1-flash-lite-image"), pricing),
  );
  assert.match(lite, /SynthID/);
  assert.match(lite, /10 objects and 4 characters/);
  assert.match(lite, /n 1 shows progress/);
});

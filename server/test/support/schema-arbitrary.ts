/** Values for fast-check from a JSON Schema of the document: such that keep it, and such that do not. */
import * as fc from "fast-check";
import type { Arbitrary } from "fast-check";

import type { JsonObject, JsonValue } from "../../src/lib/json.ts";
import { isJsonObject } from "../../src/lib/json.ts";

export type SchemaSource = {
  resolve(reference: string): JsonObject;
  /** Values of a member by its name, where any that keep the schema would not do. */
  known: Readonly<Record<string, Arbitrary<JsonValue>>>;
};

const listMax = 3;
const textMax = 40;

/** Values that keep a schema, as far as the document's own schemas go. */
export function validValues(source: SchemaSource, schema: JsonObject): Arbitrary<JsonValue> {
  const reference = schema["$ref"];
  if (typeof reference === "string") return validValues(source, source.resolve(reference));
  if (schema["const"] !== undefined) return fc.constant(schema["const"]);
  if (Array.isArray(schema["enum"])) return fc.constantFrom(...schema["enum"]);
  const choices = schema["oneOf"] ?? schema["anyOf"];
  if (Array.isArray(choices)) {
    return fc.oneof(...choices.filter(isJsonObject).map((choice) => validValues(source, choice)));
  }
  const type = schema["type"];
  if (type === "boolean") return fc.boolean();
  if (type === "integer" || type === "number") return validNumber(schema);
  if (type === "array") return validArray(source, schema);
  if (type === "object") return validObject(source, schema);
  return validText(schema);
}

/** A value that keeps the schema, with one thing wrong; or something else altogether. */
export function brokenValues(source: SchemaSource, schema: JsonObject): Arbitrary<JsonValue> {
  const stray: Arbitrary<JsonValue> = fc.oneof(
    // fast-check types any JSON as unknown.
    fc.jsonValue({ maxDepth: 2 }) as Arbitrary<JsonValue>,
    fc.constantFrom<JsonValue>(null, "", "\u0000", -1, 1.5, 1e300, true, [], {}, "a".repeat(9_000)),
  );
  const spoiled = fc
    .tuple(validValues(source, schema), fc.nat(), stray, fc.boolean())
    .map(([value, place, wrong, isMissing]): JsonValue => {
      if (!isJsonObject(value)) return wrong;
      const names = Object.keys(value);
      const name = names[place % Math.max(1, names.length)] ?? "stray";
      const { [name]: _dropped, ...rest } = value;
      return isMissing ? rest : { ...rest, [name]: wrong };
    });
  return fc.oneof({ weight: 4, arbitrary: spoiled }, { weight: 1, arbitrary: stray });
}

function validNumber(schema: JsonObject): Arbitrary<number> {
  return fc.integer({
    min: numberOf(schema["minimum"], -5),
    max: numberOf(schema["maximum"], 5),
  });
}

function validArray(source: SchemaSource, schema: JsonObject): Arbitrary<JsonValue> {
  const items = isJsonObject(schema["items"]) ? schema["items"] : {};
  return fc.array(validValues(source, items), {
    minLength: numberOf(schema["minItems"], 0),
    maxLength: Math.min(numberOf(schema["maxItems"], listMax), listMax),
  });
}

function validObject(source: SchemaSource, schema: JsonObject): Arbitrary<JsonValue> {
  const members = isJsonObject(schema["properties"]) ? schema["properties"] : {};
  const required = Array.isArray(schema["required"]) ? schema["required"] : [];
  const arbitraries = Object.entries(members).map(
    ([name, member]) => [name, valuesOf(source, name, isJsonObject(member) ? member : {})] as const,
  );
  return fc.record<Record<string, JsonValue>>(Object.fromEntries(arbitraries), {
    requiredKeys: required.filter(
      (name) => typeof name === "string" && name in members,
    ) as string[],
  });
}

/** What only one value keeps, as the model of a model's own schema, is not a matter of its name. */
function valuesOf(source: SchemaSource, name: string, member: JsonObject): Arbitrary<JsonValue> {
  const known = member["const"] === undefined ? source.known[name] : undefined;
  return known ?? validValues(source, member);
}

function validText(schema: JsonObject): Arbitrary<string> {
  const { pattern, minLength, maxLength } = schema;
  if (typeof pattern === "string") {
    return fc.stringMatching(new RegExp(pattern), { maxLength: 60 });
  }
  const least = numberOf(minLength, 0);
  return fc.string({
    unit: "grapheme",
    minLength: least,
    maxLength: Math.min(numberOf(maxLength, textMax), textMax),
  });
}

function numberOf(value: JsonValue | undefined, fallback: number): number {
  return typeof value === "number" ? value : fallback;
}

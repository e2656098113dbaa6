import { must } from "../lib/errors.ts";
import type { JsonObject, JsonValue } from "../lib/json.ts";
import type { Warning } from "./model.ts";
import type {
  ChoiceParameter,
  Conflict,
  IgnoreRule,
  IntegerParameter,
  Model,
  Parameter,
  PixelBounds,
} from "./row.ts";
import { formatCount, invalid, isAbsent, nameType, show } from "./words.ts";

/** What decides about defaults and about parameters without effect. */
export type Situation = { hasReferences: boolean; hasMask: boolean };

type Value = string | number | boolean;

/**
 * A model's own parameters, canonical and with defaults, in the order of its rows. What has no effect
 * in this request is left out; lowered and ignored ones add to `warnings`. Throws `AppError`.
 */
export function parseParameters(
  model: Model,
  body: JsonObject,
  situation: Situation,
  warnings: Warning[],
): JsonObject {
  const given = new Map<string, Value>();
  for (const parameter of model.parameters) {
    const value = body[parameter.name];
    if (isAbsent(value)) continue;
    if (parameter.type === "ignored") warnings.push(ignored(model, parameter));
    else given.set(parameter.name, parseValue(model, parameter, value, warnings));
  }
  const values = withDefaults(model, given, situation);
  for (const parameter of model.parameters) {
    const rule = parameter.ignoredWhen;
    if (rule === undefined || !isIgnored(rule, values, situation)) continue;
    values.delete(parameter.name);
    if (given.has(parameter.name)) warnings.push(withoutEffect(parameter, rule));
  }
  for (const conflict of model.conflicts) refuseConflict(model, conflict, values);
  refuseUnmetNeeds(model, values);
  return Object.fromEntries(values);
}

/** `WIDTHxHEIGHT` of a canonical `size`; null for a ratio or a word. */
export function parsePixels(size: string): { width: number; height: number } | null {
  const match = /^(\d{1,5})x(\d{1,5})$/i.exec(size);
  return match === null ? null : { width: Number(match[1]), height: Number(match[2]) };
}

function parseValue(
  model: Model,
  parameter: Exclude<Parameter, { type: "ignored" }>,
  value: JsonValue,
  warnings: Warning[],
): Value {
  if (parameter.type === "choice") return parseChoice(model, parameter, value, warnings);
  if (parameter.type === "integer") return parseInteger(model, parameter, value);
  return parseBoolean(parameter.name, value);
}

/** True or false; a quoted one is refused. */
export function parseBoolean(name: string, value: JsonValue): boolean {
  if (typeof value === "boolean") return value;
  throw invalid(name, `${name} must be true or false without quotes, not ${nameType(value)}`);
}

function parseChoice(
  model: Model,
  parameter: ChoiceParameter,
  value: JsonValue,
  warnings: Warning[],
): string {
  const { name } = parameter;
  if (typeof value !== "string") {
    throw invalid(name, `${name} must be a string, not ${nameType(value)}; ${allowed(parameter)}`);
  }
  const word = findWord(parameter.values, value, parameter.foldCase === true);
  if (word !== undefined) return meaning(parameter.means, word);
  const lowered = parameter.lowered;
  if (lowered !== undefined && findWord(lowered.words, value, true) !== undefined) {
    warnings.push({
      param: name,
      code: "lowered",
      message: `${name} ${show(value)} is lowered to ${lowered.to}, the only one that ${model.id} makes`,
    });
    return lowered.to;
  }
  const pixels = parameter.pixels === undefined ? null : parsePixels(value);
  if (parameter.pixels === undefined || pixels === null) {
    throw invalid(
      name,
      `${name} ${show(value)} is not offered by ${model.id}; ${allowed(parameter)}`,
    );
  }
  if (!isWithin(parameter.pixels, pixels.width, pixels.height)) {
    throw invalid(
      name,
      `${name} ${show(value)} is not offered by ${model.id}; ${describeBounds(parameter.pixels)}`,
    );
  }
  return `${pixels.width}x${pixels.height}`;
}

function parseInteger(model: Model, parameter: IntegerParameter, value: JsonValue): number {
  const { name, min, max } = parameter;
  if (typeof value !== "number" || !Number.isInteger(value)) {
    const what = typeof value === "number" ? String(value) : nameType(value);
    throw invalid(
      name,
      `${name} must be an integer without quotes, not ${what}; use ${min} to ${max}`,
    );
  }
  if (value < min || value > max) {
    throw invalid(name, `${name} ${value} is not offered by ${model.id}; use ${min} to ${max}`);
  }
  // JSON has a negative zero; nothing behind this line should meet it.
  return value + 0;
}

function withDefaults(
  model: Model,
  given: ReadonlyMap<string, Value>,
  situation: Situation,
): Map<string, Value> {
  const values = new Map<string, Value>();
  for (const parameter of model.parameters) {
    if (parameter.type === "ignored") continue;
    let value = given.get(parameter.name) ?? defaultOf(parameter, situation);
    if (parameter.type === "choice" && !situation.hasReferences && typeof value === "string") {
      value = meaning(parameter.meansWithoutReferences, value);
    }
    if (value !== undefined) values.set(parameter.name, value);
  }
  return values;
}

function defaultOf(
  parameter: Exclude<Parameter, { type: "ignored" }>,
  situation: Situation,
): Value | undefined {
  if (parameter.type !== "choice" || situation.hasReferences) return parameter.default;
  return parameter.defaultWithoutReferences ?? parameter.default;
}

function isIgnored(
  rule: IgnoreRule,
  values: ReadonlyMap<string, Value>,
  situation: Situation,
): boolean {
  if (rule.kind === "equals") return values.get(rule.parameter) === rule.value;
  if (rule.kind === "masked") return situation.hasMask;
  return parsePixels(String(values.get("size") ?? "")) !== null;
}

function withoutEffect(parameter: Parameter, rule: IgnoreRule): Warning {
  const reasons = {
    equals: rule.kind === "equals" ? `with ${rule.parameter} ${rule.value}` : "",
    masked: "with mask_url: the result keeps the first reference's pixels",
    pixels: "when size is given in pixels",
  };
  return {
    param: parameter.name,
    code: "ignored",
    message: `${parameter.name} has no effect ${reasons[rule.kind]}`,
  };
}

function ignored(model: Model, parameter: Parameter): Warning {
  return {
    param: parameter.name,
    code: "ignored",
    message: `${parameter.name} is ignored by ${model.id}: it ${parameter.description}`,
  };
}

function refuseConflict(
  model: Model,
  conflict: Conflict,
  values: ReadonlyMap<string, Value>,
): void {
  const { parameter, value, other, otherValue } = conflict;
  if (values.get(parameter) !== value || values.get(other) !== otherValue) return;
  const row = must(
    model.parameters.find(({ name }) => name === other),
    `parameter ${other}`,
  );
  const rest = row.type === "choice" ? row.values.filter((word) => word !== otherValue) : [];
  throw invalid(
    parameter,
    `${parameter} "${value}" does not go with ${other} "${otherValue}"; use ${other} ${rest.join(" or ")}`,
  );
}

function refuseUnmetNeeds(model: Model, values: ReadonlyMap<string, Value>): void {
  for (const parameter of model.parameters) {
    if (parameter.type !== "boolean" || parameter.needs === undefined) continue;
    if (values.get(parameter.name) !== true || values.get(parameter.needs) === true) continue;
    throw invalid(
      parameter.name,
      `${parameter.name} needs ${parameter.needs}; set ${parameter.needs} to true as well`,
    );
  }
}

function findWord(words: readonly string[], value: string, foldCase: boolean): string | undefined {
  if (!foldCase) return words.find((word) => word === value);
  const folded = value.toLowerCase();
  return words.find((word) => word.toLowerCase() === folded);
}

function meaning(table: Readonly<Record<string, string>> | undefined, word: string): string {
  if (table === undefined || !Object.hasOwn(table, word)) return word;
  return table[word] ?? word;
}

function allowed(parameter: ChoiceParameter): string {
  const words =
    parameter.values.length === 1
      ? `use ${parameter.values[0]}`
      : `use one of ${parameter.values.join(", ")}`;
  return parameter.pixels === undefined ? words : `${words}, or pixels such as 1536x1024`;
}

function isWithin(bounds: PixelBounds, width: number, height: number): boolean {
  const long = Math.max(width, height);
  const short = Math.min(width, height);
  return (
    width % bounds.multipleOf === 0 &&
    height % bounds.multipleOf === 0 &&
    long <= bounds.sideMax &&
    long <= short * bounds.ratioMax &&
    width * height >= bounds.pixelsMin &&
    width * height <= bounds.pixelsMax
  );
}

function describeBounds(bounds: PixelBounds): string {
  return (
    `sides are multiples of ${bounds.multipleOf} up to ${formatCount(bounds.sideMax)}, at most ` +
    `${bounds.ratioMax}:1, with ${formatCount(bounds.pixelsMin)} to ${formatCount(bounds.pixelsMax)} pixels`
  );
}

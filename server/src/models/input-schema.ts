/**
 * The rows as JSON Schema (draft 2020-12), for forms, SDKs and documentation. A body that keeps it is
 * accepted by the validator. The validator takes a little more: other letter cases of tiers, `null`
 * and `""` for absent, and what it clamps. `x-offered: false` marks what a form need not show.
 */
import type { JsonObject, JsonValue } from "../lib/json.ts";
import { languages } from "./model.ts";
import { urlLengthMax } from "./references.ts";
import type { ChoiceParameter, Model, Parameter, ReferenceRule } from "./row.ts";
import { formatCount } from "./words.ts";

export function inputSchema(model: Model): JsonObject {
  const properties: JsonObject = {
    model: { type: "string", const: model.id },
    prompt: {
      type: "string",
      minLength: 1,
      maxLength: model.prompt.codePointsMax,
      pattern: "\\S",
      description: `What the picture shows, in at most ${formatCount(model.prompt.codePointsMax)} characters.`,
    },
    n: picturesSchema(model),
  };
  for (const parameter of model.parameters) properties[parameter.name] = parameterSchema(parameter);
  if (model.references !== null) properties["image_urls"] = referencesSchema(model.references);
  if (model.mask !== null && model.references !== null) {
    properties["mask_url"] = {
      ...referenceText(model.references),
      description:
        "Mask for repainting: its transparent pixels are repainted. Needs image_urls, an alpha channel and the first reference's size.",
    };
  }
  Object.assign(properties, commonProperties(model));
  const rules = exclusions(model);
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: model.id,
    description: model.description,
    type: "object",
    properties,
    required: ["model", "prompt"],
    ...(rules.length === 0 ? {} : { allOf: rules }),
    additionalProperties: true,
  };
}

function picturesSchema(model: Model): JsonObject {
  const { max, outside } = model.pictures;
  const clamp = outside === "clamped" ? " Values outside are taken as the nearest." : "";
  return {
    type: "integer",
    minimum: 1,
    maximum: max,
    default: 1,
    description: `Number of pictures, as a plain integer.${clamp}`,
    ...(max === 1 ? { "x-offered": false } : {}),
  };
}

function parameterSchema(parameter: Parameter): JsonObject {
  const rest: JsonObject = {
    description: parameter.description,
    ...(parameter.offered === false ? { "x-offered": false } : {}),
  };
  if (parameter.type === "choice") return { ...choiceSchema(parameter), ...rest };
  if (parameter.type === "boolean") return { type: "boolean", default: parameter.default, ...rest };
  if (parameter.type === "ignored") {
    return { ...rest, description: `Ignored: it ${parameter.description}.` };
  }
  const { min, max } = parameter;
  const fallback = parameter.default === undefined ? {} : { default: parameter.default };
  return { type: "integer", minimum: min, maximum: max, ...fallback, ...rest };
}

function choiceSchema(parameter: ChoiceParameter): JsonObject {
  const words: JsonValue[] = [...parameter.values, ...(parameter.lowered?.words ?? [])];
  const value = parameter.default ?? parameter.defaultWithoutReferences;
  // A default that depends on references is stated in the description; forms get the plain one.
  const fallback = value === undefined ? {} : { default: value };
  if (parameter.pixels === undefined) return { type: "string", enum: words, ...fallback };
  return {
    type: "string",
    anyOf: [{ enum: words }, { pattern: "^[0-9]{3,4}x[0-9]{3,4}$" }],
    ...fallback,
  };
}

function referencesSchema(rule: ReferenceRule): JsonObject {
  const text = referenceText(rule);
  return {
    type: "array",
    maxItems: rule.countMax,
    items: {
      anyOf: [text, { type: "object", properties: { url: text }, required: ["url"] }],
    },
    description: `At most ${rule.countMax} reference pictures (jpeg, png or webp): ${describeForms(rule)}.`,
  };
}

function describeForms(rule: ReferenceRule): string {
  const forms = { url: "http(s) URLs", data: "data URIs", base64: "bare base64" };
  return rule.accepts.map((form) => forms[form]).join(", ");
}

function referenceText(rule: ReferenceRule): JsonObject {
  const url: JsonObject = { pattern: "^[Hh][Tt][Tt][Pp][Ss]?://", maxLength: urlLengthMax };
  const data: JsonObject = { pattern: "^data:image/(jpeg|jpg|png|webp);base64," };
  const base64: JsonObject = { pattern: "^[A-Za-z0-9+/]+={0,2}$", minLength: 24 };
  const forms = { url, data, base64 };
  const accepted = rule.accepts.map((form) => forms[form]);
  const [only, ...others] = accepted;
  return only !== undefined && others.length === 0
    ? { type: "string", ...only }
    : { type: "string", anyOf: accepted };
}

function commonProperties(model: Model): JsonObject {
  return {
    official_fallback: model.officialFallback
      ? {
          type: "boolean",
          default: false,
          description:
            "Let the vendor's official channel make the picture when the usual one cannot.",
        }
      : { type: "boolean", const: false, default: false, "x-offered": false },
    webhook: {
      type: "string",
      maxLength: urlLengthMax,
      pattern: "^[Hh][Tt][Tt][Pp][Ss]?://",
      description: "Base address of a callback; the finished task is posted to it plus /callback.",
    },
    language: {
      type: "string",
      description: `Language of error messages in the callback: ${languages.join(", ")}; others mean en.`,
    },
  };
}

/** What cannot stand in a body together, or at all. */
function exclusions(model: Model): JsonValue[] {
  const rules: JsonValue[] = [];
  if (model.references === null) rules.push({ not: { required: ["image_urls"] } });
  if (model.mask === null) rules.push({ not: { required: ["mask_url"] } });
  else {
    rules.push(
      implies(
        { required: ["mask_url"] },
        { required: ["image_urls"], properties: { image_urls: { minItems: 1 } } },
      ),
    );
  }
  for (const { parameter, value, other, otherValue } of model.conflicts) {
    rules.push({
      not: {
        required: [parameter, other],
        properties: { [parameter]: { const: value }, [other]: { const: otherValue } },
      },
    });
  }
  for (const parameter of model.parameters) {
    if (parameter.type !== "boolean" || parameter.needs === undefined) continue;
    rules.push(implies(isOn(parameter.name), isOn(parameter.needs)));
  }
  return rules;
}

/** What keeps `condition` also keeps `consequence`. */
function implies(condition: JsonObject, consequence: JsonObject): JsonObject {
  return { anyOf: [{ not: condition }, consequence] };
}

function isOn(name: string): JsonObject {
  return { required: [name], properties: { [name]: { const: true } } };
}

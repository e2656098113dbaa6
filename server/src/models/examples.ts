/** Bodies of a submit to show beside a model: each keeps the model's contract, and a test submits it. */
import type { JsonObject, JsonValue } from "../lib/json.ts";
import type { Model, Parameter } from "./row.ts";

export type Example = { name: string; summary: string; body: JsonObject };

const pictureUrl = "https://example.com/cat.png";
const maskUrl = "https://example.com/mask.png";

/** The shortest one first. */
export function exampleBodies(model: Model): Example[] {
  const examples: Example[] = [
    {
      name: "shortest",
      summary: "A picture from a prompt",
      body: { model: model.id, prompt: "A lighthouse at dusk, oil on canvas" },
    },
    {
      name: "chosen",
      summary: "With the model's own parameters",
      body: {
        model: model.id,
        prompt: "A lighthouse at dusk, oil on canvas",
        ...(model.pictures.max > 1 ? { n: 2 } : {}),
        ...chosenValues(model),
      },
    },
  ];
  if (model.references !== null) {
    examples.push({
      name: "reference",
      summary: "A new picture from a reference",
      body: {
        model: model.id,
        prompt: "Put a red scarf on the cat",
        image_urls: [pictureUrl],
      },
    });
  }
  if (model.mask !== null) {
    examples.push({
      name: "mask",
      summary: "Repainting what the mask leaves transparent",
      body: {
        model: model.id,
        prompt: "A red scarf",
        image_urls: [pictureUrl],
        mask_url: maskUrl,
      },
    });
  }
  return examples;
}

/** A definite value for every parameter that forms show, free of conflicts. */
function chosenValues(model: Model): JsonObject {
  const values: JsonObject = {};
  for (const parameter of model.parameters) {
    const value = parameter.offered === false ? null : chosenValue(parameter);
    if (value !== null) values[parameter.name] = value;
  }
  return values;
}

function chosenValue(parameter: Parameter): JsonValue {
  if (parameter.type === "integer") return parameter.default ?? null;
  if (parameter.type !== "choice") return null;
  // Words such as `auto` leave the choice to others; an example shows one.
  const definite = parameter.values.filter((value) => value !== "auto" && !value.includes("match"));
  return definite.at(parameter.name === "size" ? 1 : 0) ?? parameter.values[0] ?? null;
}

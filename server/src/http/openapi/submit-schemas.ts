/** The body of a submit: one schema a model, told apart by `model`. */
import type { JsonObject } from "../../lib/json.ts";
import { exampleBodies } from "../../models/examples.ts";
import { inputSchema } from "../../models/input-schema.ts";
import type { Model } from "../../models/row.ts";

/** `SubmitBody` and a schema a model, for `components.schemas`. */
export function submitSchemas(models: readonly Model[]): Record<string, JsonObject> {
  const schemas: Record<string, JsonObject> = {};
  const mapping: JsonObject = {};
  for (const model of models) {
    const name = freeName(schemas, schemaName(model.id));
    const { $schema: _dialect, ...schema } = inputSchema(model);
    schemas[name] = schema;
    mapping[model.id] = `#/components/schemas/${name}`;
  }
  const oneOf = Object.keys(schemas).map((name) => ({ $ref: `#/components/schemas/${name}` }));
  const SubmitBody: JsonObject = {
    description:
      "A task of one model. What keeps its model's schema is accepted; fields that a model does not know are accepted with a warning.",
    oneOf,
    discriminator: { propertyName: "model", mapping },
  };
  return { SubmitBody, ...schemas };
}

/** Examples of every model, by a name that is unique among all. */
export function submitExamples(models: readonly Model[]): Record<string, JsonObject> {
  return Object.fromEntries(
    models.flatMap((model) =>
      exampleBodies(model).map(({ name, summary, body }) => [
        `${model.id}-${name}`,
        { summary: `${model.id}: ${summary}`, value: body },
      ]),
    ),
  );
}

/** `flux-2-pro` as `SubmitFlux2Pro`: generators make type names of it. */
function schemaName(id: string): string {
  const words = id.replaceAll(".", "_").split(/[^A-Za-z0-9_]+/);
  return `Submit${words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("")}`;
}

/** Two ids of an operator's may differ only in what the name leaves out. */
function freeName(schemas: Record<string, JsonObject>, wanted: string): string {
  let name = wanted;
  for (let count = 2; name in schemas; count += 1) name = `${wanted}_${count}`;
  return name;
}

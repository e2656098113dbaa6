/** The published document as a judge of replies: what it does not say is a failure. */
import assert from "node:assert/strict";

import { Ajv2020 } from "ajv/dist/2020.js";

import type { JsonObject, JsonValue } from "../../src/lib/json.ts";
import { isJsonObject } from "../../src/lib/json.ts";

export type DocumentedOperation = {
  method: string;
  /** `/v1/tasks/{id}`. */
  path: string;
  /** The operation as the document has it. */
  operation: JsonObject;
};

export type Answer = { status: number; headers: Headers; text: string };

export type Contract = {
  document: JsonObject;
  operations: readonly DocumentedOperation[];
  /** The object at a JSON pointer, or what a `$ref` leads to. */
  resolve(reference: string): JsonObject;
  /** Fails unless the operation documents this status, this type of body and this body. */
  check(operation: DocumentedOperation, answer: Answer): void;
  isValid(reference: string, value: unknown): boolean;
};

const id = "document";

export function createContract(document: JsonObject): Contract {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  ajv.addSchema({ $id: id, ...harden(document) });
  const validate = (reference: string) => {
    const compiled = ajv.getSchema(`${id}${reference}`);
    assert.ok(compiled, reference);
    return compiled;
  };
  const operations = listOperations(document);
  const describedHeaders = Object.keys(objectIn(objectIn(document, "components"), "headers"));
  return {
    document,
    operations,
    resolve: (reference) => resolvePointer(document, reference),
    isValid: (reference, value) => validate(reference)(value) === true,
    check: ({ method, path, operation }, { status, headers, text }) => {
      const place = `${method} ${path} ${status} ${text.slice(0, 300)}`;
      const replies = objectIn(operation, "responses");
      assert.ok(String(status) in replies, `undocumented status: ${place}`);
      assert.match(headers.get("x-request-id") ?? "", /^req_/, place);
      const reply = objectIn(replies, String(status));
      const documented = isJsonObject(reply["headers"]) ? reply["headers"] : {};
      for (const name of describedHeaders) {
        assert.ok(!headers.has(name) || name in documented, `undocumented ${name}: ${place}`);
      }
      if (reply["content"] === undefined) {
        assert.equal(text, "", place);
        return;
      }
      const mediaType = (headers.get("content-type") ?? "").split(";")[0] ?? "";
      assert.ok(mediaType in objectIn(reply, "content"), `undocumented ${mediaType}: ${place}`);
      if (mediaType !== "application/json") return;
      const steps = ["paths", path, method, "responses", String(status), "content", mediaType];
      const validator = validate(`#/${[...steps, "schema"].map(escapePointer).join("/")}`);
      assert.ok(validator(JSON.parse(text)), `${place}: ${ajv.errorsText(validator.errors)}`);
    },
  };
}

export function objectIn(value: JsonObject, name: string): JsonObject {
  const member = value[name];
  assert.ok(isJsonObject(member), name);
  return member;
}

export function textIn(value: JsonObject, name: string): string {
  const member = value[name];
  assert.ok(typeof member === "string", name);
  return member;
}

function listOperations(document: JsonObject): DocumentedOperation[] {
  return Object.entries(objectIn(document, "paths")).flatMap(([path, item]) => {
    assert.ok(isJsonObject(item));
    return Object.keys(item).map((method) => ({ method, path, operation: objectIn(item, method) }));
  });
}

function resolvePointer(document: JsonObject, reference: string): JsonObject {
  const steps = reference.replace(/^#\//, "").split("/");
  return steps.reduce<JsonObject>(
    (value, step) => objectIn(value, step.replaceAll("~1", "/").replaceAll("~0", "~")),
    document,
  );
}

function escapePointer(step: string): string {
  return encodeURIComponent(step.replaceAll("~", "~0").replaceAll("/", "~1"));
}

/** Clients must ignore fields they do not know; here a field that the document lacks is a failure. */
function harden(document: JsonObject): JsonObject {
  const components = objectIn(document, "components");
  const schemas = Object.entries(objectIn(components, "schemas")).map(([name, schema]) => [
    name,
    name.startsWith("Submit") && !name.startsWith("SubmitReply") ? schema : close(schema),
  ]);
  return { ...document, components: { ...components, schemas: Object.fromEntries(schemas) } };
}

function close(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(close);
  if (!isJsonObject(value)) return value;
  const closed = Object.fromEntries(Object.entries(value).map(([name, one]) => [name, close(one)]));
  const isOpen = isJsonObject(value["properties"]) && value["additionalProperties"] === undefined;
  return isOpen ? { ...closed, additionalProperties: false } : closed;
}

import assert from "node:assert/strict";
import test from "node:test";

import { reasons } from "../../lib/errors.ts";
import { builtInModels } from "../../models/catalogue.ts";
import { statusOf } from "../problem.ts";
import { listOperations, namedSchemas } from "./operations.ts";
import { reasonsOf } from "./refusals.ts";

const operations = listOperations(builtInModels);

test("every parameter of a path is described, and no other", () => {
  for (const { path, pathParameters = {} } of operations) {
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    assert.deepEqual(Object.keys(pathParameters), inPath, path);
  }
});

test("every reason of the API is given by some operation, or stands outside all of them", () => {
  // Unknown routes and methods are no operation's, and nothing reads an upload by its id.
  const outside = ["method_not_allowed", "route_not_found", "upload_not_found"];
  const given = new Set<string>(operations.flatMap(reasonsOf));
  const missing = reasons.filter((reason) => !given.has(reason) && !outside.includes(reason));
  assert.deepEqual(missing, []);
});

test("a status that an operation answers with is no refusal, but where the route says so itself", () => {
  const both = operations.flatMap((operation) => {
    const refused = new Set(reasonsOf(operation).map(statusOf));
    return Object.keys(operation.replies)
      .filter((status) => refused.has(Number(status)))
      .map((status) => `${operation.path} ${status}`);
  });
  assert.deepEqual(both, ["/readyz 503"]);
});

test("names of schemas are such that a document may have", () => {
  for (const name of Object.keys(namedSchemas(builtInModels)))
    assert.match(name, /^[A-Za-z0-9._-]+$/);
});

test("models whose ids differ in punctuation only have schemas of their own", () => {
  const [model] = builtInModels;
  assert.ok(model);
  const twins = [
    { ...model, id: "a-b" },
    { ...model, id: "a--b" },
  ];
  const names = Object.keys(namedSchemas(twins)).filter((name) => name.startsWith("SubmitAB"));
  assert.equal(names.length, 2);
});

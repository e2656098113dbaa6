import assert from "node:assert/strict";
import test from "node:test";

import { AppError } from "../lib/errors.ts";
import { marketplaceQuery, modelDocsQuery, modelSchemaQuery, parseQuery } from "./schemas.ts";

function refusalOf(parse: () => unknown): { reason: string; message: string } {
  try {
    parse();
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return { reason: error.reason, message: error.message };
  }
  throw new Error("it was not refused");
}

test("a query parameter that is missing, wrong or repeated is refused by name, in plain words", () => {
  assert.deepEqual(
    refusalOf(() => parseQuery(modelDocsQuery, {})),
    { reason: "missing_parameter", message: "query parameter model is missing" },
  );
  assert.deepEqual(
    refusalOf(() => parseQuery(marketplaceQuery, { page: "0" })),
    {
      reason: "invalid_parameter",
      message: 'query parameter page "0" is not valid: use a whole number from 1',
    },
  );
  assert.equal(
    refusalOf(() => parseQuery(modelSchemaQuery, { model: "flux-2-pro", operation: "video" }))
      .message,
    'query parameter operation "video" is not valid: use image_generation, or leave it out',
  );
  assert.equal(
    refusalOf(() => parseQuery(modelDocsQuery, { model: "" })).message,
    'query parameter model "" is not valid: use the id of a model; GET /v1/models lists all of them',
  );
  assert.deepEqual(
    refusalOf(() => parseQuery(marketplaceQuery, { page: ["1", "2"] })),
    {
      reason: "invalid_parameter",
      message: "query parameter page is given more than once; send it once",
    },
  );
});

import assert from "node:assert/strict";
import test from "node:test";

import { AppError } from "../lib/errors.ts";
import { marketplaceQuery, modelDocsQuery, parseQuery } from "./schemas.ts";

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
      message: "query parameter page is not valid: use a whole number from 1",
    },
  );
  assert.deepEqual(
    refusalOf(() => parseQuery(marketplaceQuery, { page: ["1", "2"] })),
    {
      reason: "invalid_parameter",
      message: "query parameter page is given more than once; send it once",
    },
  );
});

import assert from "node:assert/strict";
import test from "node:test";

import { describeBytes, toAppError, toClientError } from "./framework-error.ts";

const route = { bodyBytesMax: 1_000, mediaType: "application/json", contentType: undefined };

function withCode(code: string): Error {
  return Object.assign(new Error("words of a library"), { code });
}

test("a request that did not arrive in time, and one that is not HTTP, have reasons of their own", () => {
  const reasons = {
    ERR_HTTP_REQUEST_TIMEOUT: "request_timeout",
    HPE_HEADER_OVERFLOW: "invalid_header",
    HPE_UNEXPECTED_CONTENT_LENGTH: "invalid_header",
    HPE_INVALID_METHOD: "invalid_header",
  };
  for (const [code, reason] of Object.entries(reasons)) {
    assert.equal(toClientError(withCode(code)).reason, reason);
  }
});

test("every error of the framework that a caller can cause is the caller's, in our words", () => {
  const reasons = {
    FST_ERR_CTP_BODY_TOO_LARGE: "body_too_large",
    FST_ERR_CTP_INVALID_MEDIA_TYPE: "unsupported_media_type",
    FST_ERR_CTP_INVALID_CONTENT_LENGTH: "invalid_header",
    FST_ERR_BAD_URL: "route_not_found",
    FST_ERR_MAX_PARAM_LENGTH: "route_not_found",
    FST_MP_PREMATURE_CLOSE: "invalid_body",
    ECONNRESET: "invalid_body",
  };
  for (const [code, reason] of Object.entries(reasons)) {
    const error = toAppError(withCode(code), route);
    assert.equal(error.reason, reason);
    assert.equal(error.message.includes("library"), false);
  }
});

test("sizes are told in MiB where they are whole ones", () => {
  assert.equal(describeBytes(33_554_432), "32 MiB (33554432 bytes)");
  assert.equal(describeBytes(1_000), "1000 bytes");
});

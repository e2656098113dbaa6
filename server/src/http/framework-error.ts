/** What Fastify, its multipart parser and Node's HTTP parser throw, in our own words and reasons. */
import { AppError } from "../lib/errors.ts";
import { StorageError } from "../storage/storage.ts";
import { storageAway } from "../tasks/retry.ts";

/** What the route that failed accepts, for the texts. */
export type RouteFacts = {
  bodyBytesMax: number;
  /** Media type that the route takes. */
  mediaType: string;
  /** As the request declared it. */
  contentType: string | undefined;
};

/** The error as the caller may see it. What is not known here is ours, and says nothing but that. */
export function toAppError(error: unknown, route: RouteFacts): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof StorageError) {
    return storageAway(error);
  }
  const code = errorCode(error);
  return (
    findFrameworkError(code, route) ??
    new AppError("internal_error", internalText, { cause: error })
  );
}

const internalText =
  "something went wrong on the server; it is recorded under this request id for the operator";

function findFrameworkError(code: string, route: RouteFacts): AppError | null {
  switch (code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return bodyTooLarge(route.bodyBytesMax);
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return unsupportedMediaType(route.contentType, route.mediaType);
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
      return new AppError("invalid_header", "header Content-Length does not match the body", {
        param: "Content-Length",
      });
    case "FST_ERR_BAD_URL":
      return new AppError("route_not_found", "the path of the URL is not valid percent-encoding");
    case "FST_ERR_MAX_PARAM_LENGTH":
      return new AppError("route_not_found", "a part of the URL's path is too long");
    // The caller hung up, or its connection broke, while the body was on its way.
    case "ECONNRESET":
    case "FST_MP_PREMATURE_CLOSE":
      return new AppError("invalid_body", "the body broke off before its end");
    default:
      return null;
  }
}

export function bodyTooLarge(bytesMax: number): AppError {
  return new AppError(
    "body_too_large",
    `the body is larger than ${describeBytes(bytesMax)}; ` +
      "send pictures to POST /v1/uploads/images and put the URLs it returns into image_urls",
  );
}

export function unsupportedMediaType(given: string | undefined, wanted: string): AppError {
  const what =
    given === undefined
      ? "header Content-Type is missing"
      : `header Content-Type ${JSON.stringify(given.slice(0, 80))} is not accepted here`;
  return new AppError("unsupported_media_type", `${what}; use ${wanted}`, {
    param: "Content-Type",
  });
}

/** What Node's HTTP parser refuses before there is a request. */
export function toClientError(error: unknown): AppError {
  switch (errorCode(error)) {
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new AppError("request_timeout", "the request took too long to arrive; send it again");
    case "HPE_HEADER_OVERFLOW":
      return new AppError("invalid_header", "the headers are larger than 16 KiB together");
    case "HPE_INVALID_CONTENT_LENGTH":
    case "HPE_UNEXPECTED_CONTENT_LENGTH":
      return new AppError("invalid_header", "header Content-Length is not one whole number", {
        param: "Content-Length",
      });
    default:
      return new AppError("invalid_header", "the request is not well-formed HTTP/1.1");
  }
}

/** `33554432` as `32 MiB (33554432 bytes)`; sizes that are no whole number of MiB in bytes alone. */
export function describeBytes(bytes: number): string {
  const mebibytes = bytes / 1_048_576;
  return Number.isInteger(mebibytes) ? `${mebibytes} MiB (${bytes} bytes)` : `${bytes} bytes`;
}

function errorCode(error: unknown): string {
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : "";
}

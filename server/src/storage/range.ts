import type { ByteRange } from "./storage.ts";

/** What a request asks of a body of known size. */
export type RangeChoice =
  | { kind: "whole" }
  | { kind: "part"; range: ByteRange }
  /** Nothing asked for lies inside the body: 416. */
  | { kind: "unsatisfiable" };

export type RangeRequest = {
  /** The `Range` header. */
  range: string | undefined;
  /** The `If-Range` header: a tag, or a date, which never matches because no dates are sent. */
  ifRange: string | undefined;
  /** Current strong tag of the body, quotes included. */
  etag: string;
  /** Size of the whole body. */
  bytes: number;
};

/**
 * Decides what to send (RFC 9110, 14.2): one range is honoured; several ranges, other units and
 * malformed headers are ignored, which the RFC allows and which bounds the work of a request.
 */
export function chooseRange(request: RangeRequest): RangeChoice {
  const { range, ifRange, etag, bytes } = request;
  if (range === undefined) return { kind: "whole" };
  // A weak tag differs from the strong one by its prefix, so equality is the strong comparison.
  if (ifRange !== undefined && ifRange.trim() !== etag) return { kind: "whole" };
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(range.trim());
  if (match === null) return { kind: "whole" };
  const [, first = "", last = ""] = match;
  if (first === "") return last === "" ? { kind: "whole" } : chooseSuffix(Number(last), bytes);
  return chooseSpan(Number(first), last === "" ? Infinity : Number(last), bytes);
}

function chooseSuffix(length: number, bytes: number): RangeChoice {
  if (length === 0 || bytes === 0) return { kind: "unsatisfiable" };
  return { kind: "part", range: { start: Math.max(0, bytes - length), end: bytes - 1 } };
}

function chooseSpan(start: number, end: number, bytes: number): RangeChoice {
  if (end < start) return { kind: "whole" };
  if (start >= bytes) return { kind: "unsatisfiable" };
  return { kind: "part", range: { start, end: Math.min(end, bytes - 1) } };
}

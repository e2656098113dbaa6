import { pino } from "pino";
import type { Logger } from "pino";

export type Log = Logger;

/** Log levels an operator can ask for. */
export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

/** Data URIs and API keys must not reach a log, also inside an error's text. */
const secretPattern = /sk-(live|test)-[A-Za-z0-9_-]{8,}|data:[\w/+.-]*;base64,[A-Za-z0-9+/=]{32,}/g;

/** JSON lines on standard error, so that standard output stays the command's own. */
export function createLog(level: LogLevel): Log {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: describeError },
    },
    pino.destination({ fd: 2, sync: true }),
  );
}

/** `text` without keys and picture bytes, cut to `max` characters. */
export function redact(text: string, max = 2_000): string {
  const clean = text.replaceAll(secretPattern, "[redacted]");
  return clean.length > max ? `${clean.slice(0, max)}…` : clean;
}

function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return redact(String(error));
  const code: unknown = "code" in error ? error.code : undefined;
  return {
    type: error.name,
    code: typeof code === "string" || typeof code === "number" ? code : undefined,
    message: redact(error.message),
    stack: redact(error.stack ?? "", 4_000),
    cause: error.cause === undefined ? undefined : describeError(error.cause),
  };
}

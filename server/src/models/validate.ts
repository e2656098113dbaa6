/**
 * The one validator of every model: it reads the rows and knows no model by name. Checks run in a
 * fixed order (prompt, n, references, mask, the model's own parameters in the order of their rows,
 * official_fallback, webhook, language), so that a request with two mistakes always gets the same answer.
 */
import { AppError } from "../lib/errors.ts";
import type { JsonObject, JsonValue } from "../lib/json.ts";
import { languages } from "./model.ts";
import type { Language, Submit, Warning } from "./model.ts";
import { parseBoolean, parseParameters } from "./parameters.ts";
import { parseHttpUrl, parseMask, parseReferences } from "./references.ts";
import { commonFields } from "./row.ts";
import type { Model } from "./row.ts";
import { cut, formatCount, invalid, isAbsent, nameType, show, unsupported } from "./words.ts";

export type SubmitOptions = {
  /** Whether callbacks may go to this port. Left out: 80 and 443 only. */
  isWebhookPortAllowed?: (url: URL) => boolean;
};

/**
 * A body held against a model's contract. Throws `AppError` (`invalid_parameter`,
 * `missing_parameter`, `unsupported_parameter`) with the top-level field as `param`; nothing is
 * decoded, fetched or looked up.
 */
export function validateSubmit(
  model: Model,
  body: JsonObject,
  options: SubmitOptions = {},
): Submit {
  const warnings: Warning[] = [];
  const prompt = parsePrompt(model, body["prompt"]);
  const pictures = parsePictures(model, body["n"], warnings);
  const references = parseReferences(model, body["image_urls"], warnings);
  const mask = parseMask(model, body["mask_url"], references.length);
  const situation = { hasReferences: references.length > 0, hasMask: mask !== null };
  const parameters = parseParameters(model, body, situation, warnings);
  const officialFallback = parseOfficialFallback(model, body["official_fallback"]);
  const webhook = parseWebhook(body["webhook"], options);
  const language = parseLanguage(body["language"]);
  warnOfForeignFields(model, body, warnings);
  return {
    request: { model: model.id, prompt, pictures, parameters, officialFallback },
    references,
    mask,
    webhook,
    language,
    warnings,
  };
}

/** The `model` of a body, as text; whether it exists is the catalogue's to say. Throws `AppError`. */
export function parseModelField(body: JsonObject): string {
  const value = body["model"];
  if (isAbsent(value)) {
    throw new AppError("missing_parameter", "model is required; GET /v1/models lists all models", {
      param: "model",
    });
  }
  if (typeof value !== "string") {
    throw invalid("model", `model must be a string, not ${nameType(value)}`);
  }
  return value;
}

function parsePrompt(model: Model, value: JsonValue | undefined): string {
  if (value === undefined || value === null) {
    throw new AppError("missing_parameter", "prompt is required: say what the picture shows", {
      param: "prompt",
    });
  }
  if (typeof value !== "string") {
    throw invalid("prompt", `prompt must be a string, not ${nameType(value)}`);
  }
  const max = model.prompt.codePointsMax;
  if (hasMoreCodePoints(value, max)) {
    throw invalid(
      "prompt",
      `prompt has ${describeLength(value)} characters; ${model.id} takes at most ${formatCount(max)}`,
    );
  }
  if (!/[^\s\p{Z}\p{Cc}\p{Cf}]/u.test(value)) {
    throw invalid("prompt", "prompt is blank; say what the picture shows");
  }
  if (value.includes("\0")) {
    throw invalid("prompt", "prompt has a NUL character (U+0000), which is not allowed");
  }
  if (!value.isWellFormed()) {
    throw invalid("prompt", "prompt has half of a surrogate pair; send well-formed Unicode text");
  }
  return value;
}

function hasMoreCodePoints(text: string, max: number): boolean {
  if (text.length <= max) return false;
  return text.length > max * 2 || countCodePoints(text) > max;
}

/** A string iterates by code points; a lone surrogate counts as one. */
function countCodePoints(text: string): number {
  let points = 0;
  for (const _ of text) points += 1;
  return points;
}

/** Longer text is not counted: it may fill the whole body. */
const countedLengthMax = 1_000_000;

function describeLength(text: string): string {
  if (text.length <= countedLengthMax) return formatCount(countCodePoints(text));
  return `more than ${formatCount(countedLengthMax / 2)}`;
}

function parsePictures(model: Model, value: JsonValue | undefined, warnings: Warning[]): number {
  if (isAbsent(value)) return 1;
  const { max, outside } = model.pictures;
  const advice = max === 1 ? "leave it out or send 1" : `use 1 to ${max}`;
  if (typeof value !== "number" || !Number.isInteger(value)) {
    const what = typeof value === "number" ? String(value) : nameType(value);
    throw invalid("n", `n must be an integer without quotes, not ${what}; ${advice}`);
  }
  if (value >= 1 && value <= max) return value;
  if (max === 1) {
    throw unsupported(
      "n",
      `n ${value} is not supported by ${model.id}, which makes one picture; ${advice}`,
    );
  }
  if (outside === "refused") {
    throw invalid("n", `n ${value} is not offered by ${model.id}; ${advice}`);
  }
  const clamped = value < 1 ? 1 : max;
  warnings.push({
    param: "n",
    code: "clamped",
    message: `n ${value} is taken as ${clamped}; ${model.id} makes 1 to ${max} pictures`,
  });
  return clamped;
}

function parseOfficialFallback(model: Model, value: JsonValue | undefined): boolean {
  if (isAbsent(value)) return false;
  const wanted = parseBoolean("official_fallback", value);
  if (wanted && !model.officialFallback) {
    throw unsupported(
      "official_fallback",
      `official_fallback true is not supported by ${model.id}; leave it out or send false`,
    );
  }
  return wanted;
}

function parseWebhook(value: JsonValue | undefined, options: SubmitOptions): string | null {
  if (isAbsent(value)) return null;
  const advice = "send the base address to which /callback is added";
  if (typeof value !== "string") {
    throw invalid("webhook", `webhook must be a string, not ${nameType(value)}; ${advice}`);
  }
  const url = parseHttpUrl(value, { param: "webhook", place: "webhook", advice });
  const isAllowed = options.isWebhookPortAllowed ?? isWebPort;
  if (!isAllowed(url)) {
    throw invalid(
      "webhook",
      `webhook port ${url.port} is not allowed; use 80 or 443, or an address that the operator allows with DARKROOM_EGRESS_ALLOW`,
    );
  }
  return value.trim();
}

/** An empty port is the scheme's own. */
function isWebPort(url: URL): boolean {
  return url.port === "" || url.port === "80" || url.port === "443";
}

/** Lenient, because it only chooses the words of an error: an unknown language means English. */
function parseLanguage(value: JsonValue | undefined): Language | null {
  if (isAbsent(value)) return null;
  if (typeof value !== "string") {
    throw invalid(
      "language",
      `language must be a string, not ${nameType(value)}; use one of ${languages.join(", ")}`,
    );
  }
  const word = value.trim().slice(0, 16).toLowerCase();
  return languages.find((language) => language === word) ?? "en";
}

/** A body can have any number of fields; the task that repeats the warnings must not. */
const foreignFieldsNamedMax = 16;

function warnOfForeignFields(model: Model, body: JsonObject, warnings: Warning[]): void {
  const known = new Set<string>(commonFields);
  for (const { name } of model.parameters) known.add(name);
  const foreign = Object.keys(body).filter((name) => !known.has(name) && !isAbsent(body[name]));
  for (const name of foreign.slice(0, foreignFieldsNamedMax)) {
    warnings.push({
      param: cut(name).toWellFormed(),
      code: "ignored",
      message: `${show(name)} is not a parameter of ${model.id} and is ignored`,
    });
  }
  const [next, ...rest] = foreign.slice(foreignFieldsNamedMax);
  if (next === undefined) return;
  warnings.push({
    param: cut(next).toWellFormed(),
    code: "ignored",
    message: `${show(next)} and ${formatCount(rest.length)} more fields are not parameters of ${model.id} and are ignored`,
  });
}

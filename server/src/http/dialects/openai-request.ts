/**
 * A request of the OpenAI Images API in the words of a submit. Fields that only that API has are mapped or
 * dropped; everything else goes through, so that the model's own parameters can be used as well.
 */
import { AppError } from "../../lib/errors.ts";
import { isJsonObject } from "../../lib/json.ts";
import type { JsonObject, JsonValue } from "../../lib/json.ts";
import type { Catalogue } from "../../models/catalogue.ts";
import type { Model } from "../../models/row.ts";
import { parseModelField } from "../../models/validate.ts";
import { loadNamedModel } from "./names.ts";
import { mapSize } from "./sizes.ts";

export type OpenAiRequest = {
  model: Model;
  /** Body of a submit, without pictures from a form and without `n`. */
  body: JsonObject;
  /** As asked for; null when absent. */
  n: JsonValue;
  delivery: "b64_json" | "url";
  isStream: boolean;
  /** What the reply repeats. */
  echo: { quality?: string; background?: string };
};

/** Said by clients, and without a meaning here. */
const droppedFields = [
  "style",
  "user",
  "safety_identifier",
  "partial_images",
  "input_fidelity",
  "stream",
  "response_format",
  "n",
  "image",
  "images",
  "mask",
];

/** Words of older models, which clients still send. */
const qualities: Record<string, string> = { standard: "medium", hd: "high" };

/** Throws `AppError` with the field as this API names it. */
export function parseOpenAiRequest(
  catalogue: Pick<Catalogue, "find" | "load">,
  given: JsonObject,
): OpenAiRequest {
  const model = loadNamedModel(catalogue, parseModelField(given));
  const kept = Object.entries(given).filter(([name]) => !droppedFields.includes(name));
  const body: JsonObject = { ...Object.fromEntries(kept), model: model.id };
  applySize(model, body);
  const quality = given["quality"];
  if (typeof quality === "string") body["quality"] = qualities[quality] ?? quality;
  applyFormat(model, body);
  return {
    model,
    body,
    n: given["n"] ?? null,
    delivery: parseDelivery(given["response_format"]),
    isStream: parseStream(given["stream"]),
    echo: { ...echoOf(model, body, "quality"), ...echoOf(model, body, "background") },
  };
}

function applySize(model: Model, body: JsonObject): void {
  const { size, resolution } = body;
  if (typeof size !== "string" || size === "") return;
  delete body["size"];
  // A tier that the caller names goes before the one that the pixels suggest.
  Object.assign(body, mapSize(model, size), resolution === undefined ? {} : { resolution });
}

/** Kontext names its file format with the word that means the form of delivery here. */
function applyFormat(model: Model, body: JsonObject): void {
  const format = body["output_format"];
  if (!("parameter" in model.format) || model.format.parameter === "output_format") return;
  if (typeof format !== "string") return;
  const { parameter, words } = model.format;
  const word = Object.entries(words).find(([, means]) => means === format)?.[0];
  delete body["output_format"];
  body[parameter] = word ?? format;
}

function parseDelivery(value: JsonValue | undefined): OpenAiRequest["delivery"] {
  if (value === undefined || value === null || value === "" || value === "b64_json") {
    return "b64_json";
  }
  if (value === "url") return "url";
  throw new AppError(
    "invalid_parameter",
    "response_format is not valid; use b64_json (the default) or url",
    { param: "response_format" },
  );
}

function parseStream(value: JsonValue | undefined): boolean {
  if (value === undefined || value === null) return false;
  if (typeof value === "boolean") return value;
  throw new AppError("invalid_parameter", "stream is not valid; use true or false", {
    param: "stream",
  });
}

/** `auto` is not repeated: what became of it is not known. */
function echoOf(
  model: Model,
  body: JsonObject,
  name: "quality" | "background",
): OpenAiRequest["echo"] {
  const value = body[name];
  const isTaken = model.parameters.some((parameter) => parameter.name === name);
  return isTaken && typeof value === "string" && value !== "auto" ? { [name]: value } : {};
}

/** Pictures of one request; the vendor's own bound. */
const picturesMax = 10;

/**
 * How many pictures each task makes: a model may make fewer at once than this API promises. What is no
 * count at all is left to the model's contract.
 */
export function splitPictures(model: Model, n: JsonValue): JsonValue[] {
  if (typeof n !== "number" || !Number.isInteger(n) || n <= model.pictures.max) return [n];
  if (n > picturesMax) {
    throw new AppError("invalid_parameter", `n ${n} is not offered; use 1 to ${picturesMax}`, {
      param: "n",
    });
  }
  const parts: number[] = [];
  for (let left = n; left > 0; left -= model.pictures.max) {
    parts.push(Math.min(left, model.pictures.max));
  }
  return parts;
}

/** References and mask of an edit that came as JSON, as the submit takes them. */
export function parseJsonPictures(given: JsonObject): { images: string[]; mask: string | null } {
  const value = given["images"] ?? given["image"] ?? null;
  const list = Array.isArray(value) ? value : value === null ? [] : [value];
  const images = list.map((item) => parsePicture(item, "image"));
  const mask = given["mask"] ?? null;
  return { images, mask: mask === null ? null : parsePicture(mask, "mask") };
}

function parsePicture(item: JsonValue, param: "image" | "mask"): string {
  const url = isJsonObject(item) ? (item["image_url"] ?? item["url"]) : item;
  const text = isJsonObject(url) ? url["url"] : url;
  if (typeof text === "string" && text !== "") return text;
  const isFile = isJsonObject(item) && item["file_id"] !== undefined;
  throw new AppError(
    isFile ? "unsupported_parameter" : "invalid_parameter",
    `${param} ${isFile ? "with file_id is not supported" : "is not a picture"}; ` +
      'send {"image_url": …} with an http(s) URL or a data URI, or a form with files',
    { param },
  );
}

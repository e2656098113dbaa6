import { isJsonObject } from "../lib/json.ts";
import type { JsonValue } from "../lib/json.ts";
import type { ReferenceInput, Warning } from "./model.ts";
import type { Model, ReferenceRule } from "./row.ts";
import { formatCount, invalid, isAbsent, isDataUri, nameType, show, unsupported } from "./words.ts";

export const urlLengthMax = 8_192;

/** `image_urls` in form: nothing is decoded or fetched. Throws `AppError`. */
export function parseReferences(
  model: Model,
  value: JsonValue | undefined,
  warnings: Warning[],
): ReferenceInput[] {
  if (isAbsent(value) || (Array.isArray(value) && value.length === 0)) return [];
  const rule = model.references;
  if (rule === null) throw unsupported("image_urls", `image_urls is not taken by ${model.id}`);
  if (!Array.isArray(value)) {
    throw invalid(
      "image_urls",
      `image_urls must be an array, not ${nameType(value)}; ${form(rule)}`,
    );
  }
  if (value.length > rule.countMax) {
    throw invalid(
      "image_urls",
      `image_urls has ${formatCount(value.length)} references; ${model.id} takes at most ${rule.countMax}`,
    );
  }
  warnOfMembers(value, warnings);
  return value.map((item, index) =>
    parseReference(model, rule, itemText(item, index, rule), {
      param: "image_urls",
      place: `image_urls[${index}]`,
      advice: form(rule),
    }),
  );
}

/** `mask_url`, in the forms that the model's references take. Throws `AppError`. */
export function parseMask(
  model: Model,
  value: JsonValue | undefined,
  references: number,
): ReferenceInput | null {
  if (isAbsent(value)) return null;
  const rule = model.references;
  if (model.mask === null || rule === null) {
    throw unsupported(
      "mask_url",
      `mask_url is not supported by ${model.id}; leave it out or use a model with inpainting`,
    );
  }
  if (typeof value !== "string") {
    throw invalid(
      "mask_url",
      `mask_url must be one string, not ${nameType(value)}; ${maskForm(rule)}`,
    );
  }
  const field = { param: "mask_url", place: "mask_url", advice: maskForm(rule) };
  const mask = parseReference(model, rule, value, field);
  if (references === 0) {
    throw invalid(
      "mask_url",
      "mask_url needs image_urls: it says which part of the first reference to repaint",
    );
  }
  return mask;
}

/** A field of the body for messages: its top-level name, the place in it, and what it takes. */
export type Field = { param: string; place: string; advice: string };

/** An http or https address without credentials; spaces around it do not count. Throws `AppError`. */
export function parseHttpUrl(text: string, field: Field): URL {
  const { param, place, advice } = field;
  if (text.length > urlLengthMax) {
    throw invalid(
      param,
      `${place} has ${formatCount(text.length)} characters, and a URL at most ${formatCount(urlLengthMax)}; ${advice}`,
    );
  }
  const address = text.trim();
  // WHATWG parsing repairs `http:host`, tabs and line breaks; what needs such repair is a mistake here.
  const isPlain = /^https?:\/\/[^/\\]/i.test(address) && !/[\p{Cc}\p{Cs}]/u.test(address);
  const url = isPlain ? URL.parse(address) : null;
  if (url === null) {
    throw invalid(param, `${place} ${show(text)} is not an http or https URL; ${advice}`);
  }
  if (url.username !== "" || url.password !== "") {
    throw invalid(param, `${place} must not carry a user name or password; ${advice}`);
  }
  return url;
}

function parseReference(
  model: Model,
  rule: ReferenceRule,
  text: string,
  field: Field,
): ReferenceInput {
  if (isDataUri(text)) {
    refuseUnless(rule.accepts.includes("data"), model, text, field);
    return parseDataUri(text, field);
  }
  if (looksLikeBase64(text)) {
    refuseUnless(rule.accepts.includes("base64"), model, text, field);
    return { kind: "data", mediaType: null, base64: text };
  }
  parseHttpUrl(text, field);
  return { kind: "url", url: text.trim() };
}

function refuseUnless(accepted: boolean, model: Model, text: string, field: Field): void {
  if (accepted) return;
  const rule = model.references;
  const advice =
    rule?.accepts.includes("data") === true
      ? "send a complete data URI (data:image/png;base64,…) or an http(s) URL"
      : "it takes public http(s) URLs only: upload the file via POST /v1/uploads/images and send the URL you get";
  const what = isDataUri(text) ? "a data URI" : "bare base64";
  throw invalid(
    field.param,
    `${field.place} is ${what}, which ${model.id} does not take; ${advice}`,
  );
}

function parseDataUri(text: string, field: Field): ReferenceInput {
  const match = /^\s*data:image\/(jpeg|jpg|png|webp);base64,/i.exec(text.slice(0, 80));
  if (match === null) {
    throw invalid(
      field.param,
      `${field.place} ${show(text)} is not a data URI of a picture; it must start with data:image/jpeg;base64, (or png, webp)`,
    );
  }
  const [prefix, subtype = ""] = match;
  const base64 = text.slice(prefix.length);
  if (base64 === "") throw invalid(field.param, `${field.place} is a data URI without data`);
  const name = subtype.toLowerCase();
  return { kind: "data", mediaType: `image/${name === "jpg" ? "jpeg" : name}`, base64 };
}

/** Shorter text is no picture and more likely a mistyped address. */
const base64LengthMin = 24;

/** Only the start is looked at: whoever decodes the text checks all of it. */
function looksLikeBase64(text: string): boolean {
  return text.length >= base64LengthMin && /^[A-Za-z0-9+/]+={0,2}$/.test(text.slice(0, 64));
}

function itemText(item: JsonValue, index: number, rule: ReferenceRule): string {
  const text = isJsonObject(item) ? item["url"] : item;
  if (typeof text !== "string" || text === "") {
    const what =
      text === "" ? "empty" : isJsonObject(item) ? "an object without url" : nameType(item);
    throw invalid("image_urls", `image_urls[${index}] is ${what}; ${form(rule)}`);
  }
  return text;
}

function warnOfMembers(items: readonly JsonValue[], warnings: Warning[]): void {
  const hasMore = items.some((item) => isJsonObject(item) && Object.keys(item).length > 1);
  if (!hasMore) return;
  warnings.push({
    param: "image_urls",
    code: "ignored",
    message: "image_urls: of an object only url is read; its other members are ignored",
  });
}

function form(rule: ReferenceRule): string {
  return `a reference is ${kindsOf(rule)}, as a string or as {"url": …}`;
}

/** A mask is one picture, so the objects that can stand in a list of references are not for it. */
function maskForm(rule: ReferenceRule): string {
  return `a mask is ${kindsOf(rule)}, as one string`;
}

function kindsOf(rule: ReferenceRule): string {
  return rule.accepts.includes("data") ? "an http(s) URL or a data URI" : "a public http(s) URL";
}

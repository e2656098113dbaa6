/** Edits as `multipart/form-data`: files and texts of a form. */
import type { MultipartFile } from "@fastify/multipart";
import type { FastifyRequest } from "fastify";

import { AppError } from "../../lib/errors.ts";
import type { JsonObject, JsonValue } from "../../lib/json.ts";
import { bodyTooLarge } from "../framework-error.ts";

export type FormFile = { bytes: Buffer; mediaType: string };

export type OpenAiForm = { fields: JsonObject; images: FormFile[]; mask: FormFile | null };

/** As for a reference of a submit. */
const fileBytesMax = 20_971_520;
const imagesMax = 16;

export const formLimits = {
  throwFileSizeLimit: false,
  limits: {
    fileSize: fileBytesMax,
    files: imagesMax + 1,
    fields: 48,
    parts: imagesMax + 49,
    // A prompt of 32,000 characters, each of four bytes.
    fieldSize: 131_072,
    fieldNameSize: 100,
    headerPairs: 20,
  },
};

/** Refuses by Content-Length what would only be thrown away after it was received. */
export function assertFormSize(request: FastifyRequest, bytesMax: number): void {
  if (Number(request.headers["content-length"] ?? 0) > bytesMax) throw bodyTooLarge(bytesMax);
}

/** Throws `invalid_body`, `image_too_large` or `body_too_large`. */
export async function readForm(request: FastifyRequest, bytesMax: number): Promise<OpenAiForm> {
  try {
    return await readParts(request, bytesMax);
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError(
      "invalid_body",
      `the body is not a well-formed form; send at most ${imagesMax} images, a mask and texts`,
      { cause: error },
    );
  } finally {
    // After a refusal the rest still arrives; unread it would hold the connection.
    request.raw.unpipe();
    request.raw.resume();
  }
}

async function readParts(request: FastifyRequest, bytesMax: number): Promise<OpenAiForm> {
  const fields: [name: string, value: JsonValue][] = [];
  const form: OpenAiForm = { fields: {}, images: [], mask: null };
  let bytes = 0;
  for await (const part of request.parts()) {
    if (part.type === "field") {
      if (typeof part.value === "string") fields.push(parseField(part.fieldname, part.value));
      continue;
    }
    const file = await readFile(part);
    bytes += file.bytes.length;
    if (bytes > bytesMax) throw bodyTooLarge(bytesMax);
    if (part.fieldname === "mask") form.mask = file;
    else if (/^image(\[\d*\])?$/.test(part.fieldname)) form.images.push(file);
    else throw unexpectedFile(part.fieldname);
  }
  return { ...form, fields: Object.fromEntries(fields) };
}

async function readFile(part: MultipartFile): Promise<FormFile> {
  const param = part.fieldname === "mask" ? "mask" : "image";
  const bytes = await part.toBuffer();
  if (part.file.truncated) {
    throw new AppError(
      "image_too_large",
      `a file in part ${param} is larger than the ${fileBytesMax} bytes (20 MiB) that it may have`,
      { param },
    );
  }
  if (bytes.length > 0) return { bytes, mediaType: part.mimetype };
  throw new AppError("invalid_image", `a file in part ${param} is empty`, { param });
}

function unexpectedFile(name: string): AppError {
  return new AppError(
    "invalid_body",
    `a file in part ${JSON.stringify(name.slice(0, 80))} is not accepted; use image[] or mask`,
    { param: "image" },
  );
}

/** Everything in a form is text: what is a number or a truth value in JSON is read as one. */
function parseField(name: string, text: string): [name: string, value: JsonValue] {
  if (numberFields.has(name) && /^-?\d{1,9}$/.test(text)) return [name, Number(text)];
  if (text === "true" || text === "false") {
    return [name, textFields.has(name) ? text : text === "true"];
  }
  return [name, text];
}

const numberFields = new Set(["n", "output_compression", "partial_images", "safety_tolerance"]);
/** Texts in which the two words would be words. */
const textFields = new Set(["prompt", "user", "safety_identifier"]);

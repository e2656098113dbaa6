/** What a request to the emulated Black Forest Labs says, and what is wrong with it. */
import sharp from "sharp";

import { isJsonObject } from "../../src/lib/json.ts";
import type { JsonObject } from "../../src/lib/json.ts";
import { textOf } from "./vendor-server.ts";

export type Format = (typeof formats)[number];
export type Size = { width: number; height: number };

const formats = ["jpeg", "png", "webp"] as const;

export function readJson(bytes: Buffer): JsonObject {
  const value: unknown = JSON.parse(bytes.toString());
  return isJsonObject(value) ? value : {};
}

type Issue = { loc: string[]; msg: string; type: string };

const wholeNumbers: Record<string, { min: number; max: number }> = {
  width: { min: 64, max: Number.MAX_SAFE_INTEGER },
  height: { min: 64, max: Number.MAX_SAFE_INTEGER },
  safety_tolerance: { min: 0, max: 6 },
  steps: { min: 1, max: 50 },
};

/** The first complaint, as FastAPI words it; unknown fields are ignored. */
export function findIssue(model: string, body: JsonObject): Issue | null {
  const issue = (field: string, msg: string, type: string): Issue => {
    return { loc: ["body", field], msg, type };
  };
  if (typeof body["prompt"] !== "string") return issue("prompt", "Field required", "missing");
  for (const [field, { min, max }] of Object.entries(wholeNumbers)) {
    const value = body[field];
    if (value === undefined) continue;
    const most = field === "safety_tolerance" && model.startsWith("flux-2") ? 5 : max;
    if (typeof value !== "number" || !Number.isInteger(value))
      return issue(field, "Input should be a valid integer", "int_type");
    if (value > most) {
      return issue(field, `Input should be less than or equal to ${most}`, "less_than_equal");
    }
    if (value < min) {
      const msg = `Input should be greater than or equal to ${min}`;
      return issue(field, msg, "greater_than_equal");
    }
  }
  const { output_format = "png", aspect_ratio = "1:1" } = body;
  if (!formats.some((format) => format === output_format)) {
    return issue("output_format", "Input should be 'jpeg', 'png' or 'webp'", "enum");
  }
  const ratio = ratioOf(aspect_ratio);
  if (!(ratio >= 9 / 21 && ratio <= 21 / 9)) {
    return issue("aspect_ratio", "Input should be between 21:9 and 9:21", "value_error");
  }
  return null;
}

export function formatOf(model: string, body: JsonObject): Format {
  const asked = formats.find((format) => format === body["output_format"]);
  return asked ?? (model.startsWith("flux-2") ? "jpeg" : "png");
}

function ratioOf(text: unknown): number {
  const [, width, height] = /^(\d+):(\d+)$/.exec(textOf(text)) ?? [];
  return Number(width) / Number(height);
}

/** Sizes of the input pictures; null when one of them is none. */
export async function measureInputs(body: JsonObject): Promise<Size[] | null> {
  const sizes: Size[] = [];
  for (let number = 1; number <= 8; number++) {
    const input = body[number === 1 ? "input_image" : `input_image_${number}`];
    if (input === undefined) continue;
    if (typeof input !== "string") return null;
    try {
      const { width, height } = await sharp(Buffer.from(input, "base64")).metadata();
      sizes.push({ width, height });
    } catch {
      return null;
    }
  }
  return sizes;
}

export function sizeOf(body: JsonObject, inputs: readonly Size[]): Size {
  const { width, height, aspect_ratio } = body;
  if (typeof width === "number" && typeof height === "number") return { width, height };
  const [first = { width: 1, height: 1 }] = inputs;
  const ratio = aspect_ratio === undefined ? first.width / first.height : ratioOf(aspect_ratio);
  const pixels = 1_048_576;
  return { width: Math.sqrt(pixels * ratio), height: Math.sqrt(pixels / ratio) };
}

export function roundDown({ width, height }: Size): Size {
  return { width: Math.floor(width / 16) * 16, height: Math.floor(height / 16) * 16 };
}

export function megapixels({ width, height }: Size): number {
  return Math.round((width * height) / 10_000) / 100;
}

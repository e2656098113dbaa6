/**
 * The OpenAI Images API as its facts describe it: generations, edits as form and as JSON, models; its
 * refusals of bad fields, its errors, its usage figures and its echo of what `auto` became.
 */
import sharp from "sharp";

import type { JsonObject } from "../../src/lib/json.ts";
import { paintEmulated } from "./pictures.ts";
import { readForm, startVendorServer, textOf } from "./vendor-server.ts";
import type {
  EmulatorReply,
  Misbehaviour,
  RecordedRequest,
  VendorServer,
} from "./vendor-server.ts";

export type OpenAiEmulatorOptions = {
  apiKey?: string;
  /** Models that are alive; an unknown one is a 404. */
  models?: readonly string[];
};

/** A call that made pictures and costs money, also when its answer then went wrong. */
export type BilledCall = {
  /** What the caller sent as `x-client-request-id`. */
  attemptId: string | null;
  route: "generations" | "edits";
  model: string;
  prompt: string;
  pictures: number;
  outputTokens: number;
};

export type OpenAiEmulator = Pick<
  VendorServer,
  "origin" | "requests" | "untilAsked" | "bytesSent" | "stop"
> & {
  /** The origin with its `/v1`. */
  baseUrl: string;
  readonly billed: readonly BilledCall[];
  /** `refusal`: an error before any work; `reply`: what goes wrong with the answer to work that was done. */
  set(behaviour: { refusal?: EmulatorReply | null; reply?: Misbehaviour | null }): void;
};

export const emulatedOpenAiKey = "sk-emulated-openai-key-0001";

const modelsAlive = [
  "gpt-image-1.5",
  "gpt-image-2",
  "gpt-image-2.5-flare",
  "gpt-image-2.5-sunburst",
  "gpt-image-2.6-flare",
] as const;

/** Output tokens a picture, square and otherwise. */
const tokensOf: Record<string, readonly [square: number, other: number]> = {
  low: [272, 408],
  medium: [1_056, 1_584],
  high: [4_160, 6_240],
  xhigh: [6_000, 9_000],
  max: [8_000, 12_000],
};

const fieldsKnown = new Set([
  "prompt",
  "model",
  "n",
  "size",
  "quality",
  "background",
  "moderation",
  "output_format",
  "output_compression",
  "user",
  "safety_identifier",
]);
const editFieldsKnown = new Set([...fieldsKnown, "input_fidelity", "images", "mask"]);

type Given = { body: JsonObject; images: readonly Buffer[]; mask: Buffer | null };

export async function startOpenAiEmulator(
  options: OpenAiEmulatorOptions = {},
): Promise<OpenAiEmulator> {
  const apiKey = options.apiKey ?? emulatedOpenAiKey;
  const models = options.models ?? modelsAlive;
  const billed: BilledCall[] = [];
  let refusal: EmulatorReply | null = null;
  let asked = 0;
  const server = await startVendorServer(async (request) => {
    asked += 1;
    const headers = {
      "x-request-id": `req_${String(asked).padStart(4, "0")}`,
      "openai-processing-ms": "12",
      "x-ratelimit-limit-requests": "50",
      "x-ratelimit-remaining-requests": "49",
      "x-ratelimit-reset-requests": "1.2s",
    };
    const reply = await answer(request);
    return { ...reply, headers: { ...headers, ...reply.headers } };
  });

  async function answer(request: RecordedRequest): Promise<EmulatorReply> {
    const wrongKey = checkKey(request, apiKey);
    if (wrongKey !== null) return wrongKey;
    if (refusal !== null) return refusal;
    const path = request.path.split("?")[0] ?? "";
    if (request.method === "GET" && path === "/v1/models") {
      return { status: 200, body: { object: "list", data: models.map(describeModel) } };
    }
    if (request.method === "GET" && path.startsWith("/v1/models/")) {
      const id = path.slice("/v1/models/".length);
      return models.includes(id) ? { status: 200, body: describeModel(id) } : noModel(id);
    }
    const route = /^\/v1\/images\/(generations|edits)$/.exec(path)?.[1];
    if (request.method !== "POST" || (route !== "generations" && route !== "edits")) {
      return fail(404, `Invalid URL (${request.method} ${path})`);
    }
    const attemptId = request.headers["x-client-request-id"] ?? null;
    return makePictures({ route, attemptId }, await readGiven(request));
  }

  async function makePictures(
    { route, attemptId }: Pick<BilledCall, "route" | "attemptId">,
    given: Given | EmulatorReply,
  ): Promise<EmulatorReply> {
    if ("status" in given) return given;
    const { body } = given;
    const bad = checkFields(route, body) ?? (route === "edits" ? await checkFiles(given) : null);
    if (bad !== null) return bad;
    const model = textOf(body["model"]);
    if (!models.includes(model)) return noModel(model);
    const pictures = Number(body["n"] ?? 1);
    const reply = await draw(given, pictures);
    const prompt = textOf(body["prompt"]);
    const outputTokens = reply.usage.output_tokens;
    billed.push({ attemptId, route, model, prompt, pictures, outputTokens });
    return { status: 200, body: reply };
  }

  return {
    origin: server.origin,
    baseUrl: `${server.origin}/v1`,
    requests: server.requests,
    billed,
    untilAsked: server.untilAsked,
    get bytesSent() {
      return server.bytesSent;
    },
    set: (behaviour) => {
      if (behaviour.refusal !== undefined) ({ refusal } = behaviour);
      if (behaviour.reply !== undefined) server.misbehave(behaviour.reply);
    },
    stop: server.stop,
  };
}

/** An error body of this API. */
export function openAiError(
  status: number,
  error: { message: string; type: string; param?: string | null; code?: string | null },
  headers: Record<string, string> = {},
): EmulatorReply {
  return { status, headers, body: { error: { param: null, code: null, ...error } } };
}

function fail(
  status: number,
  message: string,
  param: string | null = null,
  code: string | null = null,
) {
  return openAiError(status, { message, type: "invalid_request_error", param, code });
}

function noModel(id: string): EmulatorReply {
  const message = `The model ${id} does not exist or you do not have access to it.`;
  return fail(404, message, "model", "model_not_found");
}

function checkKey({ headers }: RecordedRequest, apiKey: string): EmulatorReply | null {
  const given = headers["authorization"]?.replace(/^Bearer /, "");
  if (given === apiKey) return null;
  // The vendor repeats what it was sent.
  return fail(401, `Incorrect API key provided: ${given}.`, null, "invalid_api_key");
}

function describeModel(id: string) {
  const shutdown = id === "gpt-image-1.5" ? "2026-12-01" : null;
  return {
    id,
    object: "model",
    created: 1_795_219_200,
    owned_by: "openai",
    shutdown_date: shutdown,
  };
}

async function readGiven(request: RecordedRequest): Promise<Given | EmulatorReply> {
  const type = request.headers["content-type"] ?? "";
  if (type.startsWith("multipart/form-data")) {
    const entries = await readForm(request);
    const body: JsonObject = {};
    for (const entry of entries) if ("value" in entry) body[entry.name] = readText(entry);
    const files = entries.filter((entry) => "bytes" in entry);
    const images = files.filter(({ name }) => name === "image" || name === "image[]");
    const mask = files.find(({ name }) => name === "mask");
    return { body, images: images.map(({ bytes }) => bytes), mask: mask?.bytes ?? null };
  }
  if (type.split(";")[0] !== "application/json")
    return fail(415, `Unsupported content type ${type}`);
  try {
    const body = JSON.parse(request.body.toString()) as JsonObject;
    const sources = (body["images"] ?? []) as { image_url: string }[];
    const mask = body["mask"] as { image_url: string } | undefined;
    return {
      body,
      images: sources.map(({ image_url: url }) => fromDataUri(url)),
      mask: mask === undefined ? null : fromDataUri(mask.image_url),
    };
  } catch {
    return fail(400, "We could not parse the JSON body of your request.");
  }
}

/** Form fields are texts; the vendor reads numbers out of them. */
function readText({ name, value }: { name: string; value: string }): string | number {
  return name === "n" || name === "output_compression" ? Number(value) : value;
}

function fromDataUri(uri: string): Buffer {
  return Buffer.from(uri.slice(uri.indexOf(",") + 1), "base64");
}

function checkFields(route: BilledCall["route"], body: JsonObject): EmulatorReply | null {
  const known = route === "edits" ? editFieldsKnown : fieldsKnown;
  const unknown = Object.keys(body).find((name) => !known.has(name));
  if (unknown !== undefined) {
    return fail(400, `Unknown parameter: '${unknown}'.`, unknown, "unknown_parameter");
  }
  for (const name of ["prompt", "model"]) {
    const message = `Missing required parameter: '${name}'.`;
    if (typeof body[name] !== "string")
      return fail(400, message, name, "missing_required_parameter");
  }
  const model = textOf(body["model"]);
  const rules: [name: string, isFine: (value: unknown) => boolean][] = [
    ["n", (value) => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 10],
    ["size", (value) => isSize(String(value), model)],
    ["quality", (value) => isQuality(String(value), model)],
    ["background", (value) => ["auto", "opaque", "transparent"].includes(String(value))],
    ["moderation", (value) => ["auto", "low"].includes(String(value))],
    ["output_format", (value) => ["png", "jpeg", "webp"].includes(String(value))],
    ["output_compression", (value) => Number(value) >= 0 && Number(value) <= 100],
  ];
  const wrong = rules.find(([name, isFine]) => body[name] !== undefined && !isFine(body[name]));
  if (wrong !== undefined) {
    const [name] = wrong;
    return fail(400, `Invalid value: '${textOf(body[name])}'.`, name, "invalid_value");
  }
  return checkPairs(body);
}

function checkPairs(body: JsonObject): EmulatorReply | null {
  const format = body["output_format"] ?? "png";
  if (body["background"] === "transparent" && format === "jpeg") {
    return fail(
      400,
      "Transparent background is not supported for jpeg.",
      "background",
      "invalid_value",
    );
  }
  if (body["output_compression"] !== undefined && format === "png") {
    const message = "Compression less than 100 is not supported for PNG output format";
    return fail(400, message, "output_compression", "invalid_value");
  }
  return null;
}

function isSize(size: string, model: string): boolean {
  if (["auto", "1024x1024", "1536x1024", "1024x1536"].includes(size)) return true;
  const [width = 0, height = 0] = size.split("x").map(Number);
  const isFree = !model.startsWith("gpt-image-1") && width % 16 === 0 && height % 16 === 0;
  const ratio = Math.max(width, height) / Math.min(width, height);
  return isFree && ratio <= 3 && width * height >= 655_360 && width * height <= 3_840 * 2_160;
}

function isQuality(quality: string, model: string): boolean {
  if (["auto", "low", "medium", "high"].includes(quality)) return true;
  return model.startsWith("gpt-image-2.") && ["xhigh", "max"].includes(quality);
}

async function checkFiles({ images, mask }: Given): Promise<EmulatorReply | null> {
  if (images.length === 0) {
    return fail(400, "Missing required parameter: 'image'.", "image", "missing_required_parameter");
  }
  if (images.length > 16)
    return fail(400, "Too many images: at most 16.", "image", "invalid_value");
  const sizes: { width: number; height: number; hasAlpha: boolean; format: string }[] = [];
  for (const bytes of [...images, ...(mask === null ? [] : [mask])]) {
    try {
      sizes.push(await sharp(bytes).metadata());
    } catch {
      return fail(400, "Invalid image file or mode for image.", "image", "invalid_image_file");
    }
  }
  const [first] = sizes;
  const last = sizes.at(-1);
  if (mask === null || first === undefined || last === undefined) return null;
  if (last.format !== "png" || mask.length >= 4 * 2 ** 20) {
    return fail(
      400,
      "Invalid mask image format - mask must be a PNG below 4 MB",
      "mask",
      "invalid_image_format",
    );
  }
  if (!last.hasAlpha) {
    return fail(
      400,
      "Invalid mask image format - mask must have an alpha channel",
      "mask",
      "invalid_image_format",
    );
  }
  if (first.width !== last.width || first.height !== last.height) {
    return fail(
      400,
      "Invalid mask image size - mask size does not match image size",
      "mask",
      "invalid_image_format",
    );
  }
  return null;
}

async function draw({ body, images }: Given, pictures: number) {
  const size =
    body["size"] === undefined || body["size"] === "auto" ? "1024x1024" : textOf(body["size"]);
  const quality =
    body["quality"] === undefined || body["quality"] === "auto"
      ? "medium"
      : textOf(body["quality"]);
  const format = (body["output_format"] ?? "png") as "png" | "jpeg" | "webp";
  const background = body["background"] === "transparent" ? "transparent" : "opaque";
  const [width = 0, height = 0] = size.split("x").map(Number);
  const data = await Promise.all(
    Array.from({ length: pictures }, async (_, index) => {
      const seed = `${textOf(body["prompt"])} ${index}`;
      const bytes = await paintEmulated({ width, height, format, seed });
      return { b64_json: bytes.toString("base64") };
    }),
  );
  const [square, other] = tokensOf[quality] ?? [0, 0];
  const made = (width === height ? square : other) * pictures;
  const text = Math.ceil(textOf(body["prompt"]).length / 4);
  const image = 323 * images.length;
  return {
    created: 1_795_219_200,
    background,
    output_format: format,
    quality,
    size,
    data,
    usage: {
      input_tokens: text + image,
      input_tokens_details: { text_tokens: text, image_tokens: image },
      output_tokens: made,
      output_tokens_details: { image_tokens: made, text_tokens: 0 },
      total_tokens: text + image + made,
    },
  };
}

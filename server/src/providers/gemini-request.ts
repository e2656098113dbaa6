/** What the two Gemini protocols share on the way out: the account, the wished picture, the bytes. */
import { assert } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import type { Job, ReferencePicture } from "./adapter.ts";
import type { VendorRequest } from "./request.ts";

export type GeminiSettings = {
  /** Origin without a version, as in `https://generativelanguage.googleapis.com`. */
  baseUrl: string;
  apiKey: string;
  /** Version segment of every path; `v1beta` by default. */
  apiVersion?: string;
  /** Beginnings of upstream names that refuse a resolution; the 2.5 family by default. */
  modelsWithoutImageSize?: readonly string[];
  /** Beginnings of upstream names whose least resolution is 1K; Nano Banana 2.1 by default. */
  modelsWithoutHalfK?: readonly string[];
  /** Beginnings of upstream names that refuse the search tool; Lite and the 2.5 family by default. */
  modelsWithoutSearch?: readonly string[];
};

const withoutImageSizeDefault = ["gemini-2.5-"];
const withoutHalfKDefault = ["gemini-nano-banana-"];
const withoutSearchDefault = ["gemini-2.5-", "gemini-3.1-flash-lite-"];

/** A request to this account; `path` begins after the version. */
export function requestTo(
  settings: GeminiSettings,
  path: string,
  request: Pick<VendorRequest, "verb" | "method"> & { body?: Uint8Array },
): VendorRequest {
  const { baseUrl, apiVersion = "v1beta", apiKey } = settings;
  const headers: Record<string, string> = { "x-goog-api-key": apiKey };
  if (request.body !== undefined) headers["content-type"] = "application/json";
  return {
    ...request,
    url: `${baseUrl.replace(/\/+$/, "")}/${apiVersion}/${path}`,
    headers,
  };
}

/** The vendor's words for the picture that is wanted; null where nothing is to be sent. */
export type PictureWish = {
  ratio: string | null;
  /** `512`, `1K`, `2K` or `4K`. */
  imageSize: string | null;
  search: "none" | "web" | "web_and_images";
};

export function wishOf(settings: GeminiSettings, { parameters, ...job }: Job): PictureWish {
  const { size, resolution } = parameters;
  const namedRatio = typeof size === "string" && size !== "auto" ? size : null;
  const { modelsWithoutSearch = withoutSearchDefault } = settings;
  const maySearch = !beginsLike(job.upstreamModel, modelsWithoutSearch);
  return {
    // Left alone, the model follows the first reference, and without one it picks a ratio itself.
    ratio: namedRatio ?? (job.references.length === 0 ? "1:1" : null),
    imageSize: typeof resolution === "string" ? imageSizeOf(settings, job, resolution) : null,
    search: maySearch ? searchOf(parameters) : "none",
  };
}

function imageSizeOf(
  settings: GeminiSettings,
  { upstreamModel }: Pick<Job, "upstreamModel">,
  resolution: string,
): string | null {
  const {
    modelsWithoutImageSize = withoutImageSizeDefault,
    modelsWithoutHalfK = withoutHalfKDefault,
  } = settings;
  if (beginsLike(upstreamModel, modelsWithoutImageSize)) return null;
  if (resolution !== "0.5K") return resolution;
  // The vendor answers `0.5K` with an error; its own word for that tier is `512`.
  return beginsLike(upstreamModel, modelsWithoutHalfK) ? "1K" : "512";
}

function searchOf(parameters: JsonObject): PictureWish["search"] {
  if (parameters["google_search"] !== true) return "none";
  return parameters["google_image_search"] === true ? "web_and_images" : "web";
}

function beginsLike(upstreamModel: string, beginnings: readonly string[]): boolean {
  return beginnings.some((beginning) => upstreamModel.startsWith(beginning));
}

/** What stands in a body for the base64 text of a reference, until `encodeBody` fills it in. */
export const pictureData = "";
/** No text inside a JSON string can look like this: its quotes would be escaped. */
const placeholder = `"data":"${pictureData}"`;

/**
 * The body as JSON, with the references' bytes as base64 where it has a member `data: pictureData`, in
 * order. Written into one buffer, so that a request costs its own length and one picture's at a time.
 */
export async function encodeBody(
  body: JsonObject,
  references: readonly ReferencePicture[],
): Promise<Uint8Array> {
  const pieces = JSON.stringify(body).split(placeholder);
  assert(pieces.length === references.length + 1, "the body has another number of pictures");
  const texts = pieces.map((piece, index) => (index === 0 ? piece : `"${piece}`));
  const encoded = Buffer.allocUnsafe(lengthOf(texts, references));
  let end = 0;
  for (const [index, text] of texts.entries()) {
    end += encoded.write(text, end, "utf8");
    const reference = references[index];
    if (reference === undefined) continue;
    end += encoded.write('"data":"', end, "latin1");
    const bytes = await reference.read();
    assert(bytes.length === reference.byteLength, "a stored reference has changed its length");
    end += encoded.write(base64Of(bytes), end, "latin1");
  }
  assert(end === encoded.length, "the length of the body was foreseen wrongly");
  return encoded;
}

function lengthOf(texts: readonly string[], references: readonly ReferencePicture[]): number {
  const textBytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  return references.reduce(
    (sum, { byteLength }) => sum + '"data":"'.length + 4 * Math.ceil(byteLength / 3),
    textBytes,
  );
}

function base64Of(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

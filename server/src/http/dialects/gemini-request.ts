/** A `generateContent` request, in camel or snake case, in the words of a submit. */
import { isJsonObject } from "../../lib/json.ts";
import type { JsonObject, JsonValue } from "../../lib/json.ts";
import type { Model } from "../../models/row.ts";

/** What the vendor calls the smallest tier. */
const tiers: Record<string, string> = { "512": "0.5K" };

/** Body of a submit. What has no meaning for a picture is left out. */
export function parseGeminiRequest(model: Model, given: JsonObject): JsonObject {
  const parts = listOf(given["contents"]).flatMap((content) => listOf(member(content, "parts")));
  const config = member(given, "generationConfig");
  const image = member(config, "imageConfig");
  const images = parts.flatMap(parsePicture);
  const size = member(image, "aspectRatio");
  const tier = member(image, "imageSize");
  const pictures = member(config, "candidateCount");
  return {
    model: model.id,
    prompt: parts.flatMap(parseText).join("\n"),
    ...(images.length === 0 ? {} : { image_urls: images }),
    ...(size === undefined ? {} : { size }),
    ...(tier === undefined
      ? {}
      : { resolution: typeof tier === "string" ? (tiers[tier] ?? tier) : tier }),
    ...(pictures === undefined ? {} : { n: pictures }),
    ...(usesSearch(model, given) ? { google_search: true } : {}),
  };
}

function parseText(part: JsonValue): string[] {
  const text = member(part, "text");
  return typeof text === "string" && text !== "" ? [text] : [];
}

function parsePicture(part: JsonValue): string[] {
  const inline = member(part, "inlineData");
  const data = member(inline, "data");
  if (typeof data === "string") {
    const mediaType = member(inline, "mimeType");
    return [`data:${typeof mediaType === "string" ? mediaType : "image/png"};base64,${data}`];
  }
  const uri = member(member(part, "fileData"), "fileUri");
  return typeof uri === "string" ? [uri] : [];
}

function usesSearch(model: Model, given: JsonObject): boolean {
  const isTaken = model.parameters.some(({ name }) => name === "google_search");
  const tools = listOf(given["tools"]);
  return isTaken && tools.some((tool) => member(tool, "googleSearch") !== undefined);
}

/** A member by its name in camel case, or in snake case; undefined for what is no object. */
function member(value: JsonValue | undefined, name: string): JsonValue | undefined {
  if (!isJsonObject(value)) return undefined;
  const snake = name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return value[name] ?? value[snake] ?? undefined;
}

function listOf(value: JsonValue | undefined): JsonValue[] {
  if (Array.isArray(value)) return value;
  return value === undefined || value === null ? [] : [value];
}

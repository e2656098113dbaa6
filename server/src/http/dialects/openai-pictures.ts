/** Files of a form as references of a submit. */
import { hash } from "node:crypto";

import type { FastifyRequest } from "fastify";

import type { JsonObject } from "../../lib/json.ts";
import type { Model } from "../../models/row.ts";
import { digestBody } from "../idempotency.ts";
import { callerOf } from "../request.ts";
import type { FormFile, OpenAiForm } from "./openai-form.ts";
import type { DialectDeps } from "./run.ts";

export type PlacedPictures = { images: string[]; mask: string | null };

/**
 * Where the submit finds the files: in its body, or, for models that take public URLs only, at links of
 * our own. Throws `invalid_image` for what is no picture.
 */
export async function placePictures(
  deps: Pick<DialectDeps, "saveUpload">,
  { request, model, form }: { request: FastifyRequest; model: Model; form: OpenAiForm },
): Promise<PlacedPictures> {
  const { images, mask } = form;
  if (model.references?.accepts.includes("data") !== false) {
    return { images: images.map(toDataUri), mask: mask === null ? null : toDataUri(mask) };
  }
  const { accountId, mode } = callerOf(request);
  const upload = async ({ bytes }: FormFile): Promise<string> =>
    (await deps.saveUpload({ accountId, mode, filename: "image", bytes })).url;
  const urls: string[] = [];
  for (const image of images) urls.push(await upload(image));
  return { images: urls, mask: mask === null ? null : await upload(mask) };
}

/** What a file really is decides whoever decodes it; clients often say nothing but `octet-stream`. */
function toDataUri({ bytes, mediaType }: FormFile): string {
  const isKnown = /^image\/(jpeg|png|webp)$/.test(mediaType);
  return `data:${isKnown ? mediaType : "image/png"};base64,${bytes.toString("base64")}`;
}

/** Equal for forms that mean the same: files count by their bytes. */
export function digestForm({ fields, images, mask }: OpenAiForm): string {
  const files: JsonObject = {
    images: images.map(({ bytes }) => hash("sha256", bytes)),
    mask: mask === null ? null : hash("sha256", mask.bytes),
  };
  return digestBody({ fields, files });
}

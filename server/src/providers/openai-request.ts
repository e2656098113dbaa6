/** Requests of the OpenAI Images protocol, shared by the vendor's own API and the servers that copy it. */
import type { JsonObject } from "../lib/json.ts";
import type { Call, Job, ReferencePicture } from "./adapter.ts";
import { encodeForm } from "./multipart.ts";
import type { FormPart } from "./multipart.ts";
import type { VendorRequest } from "./request.ts";

export type Endpoint = {
  /** With its `/v1`, with or without a slash at the end. */
  baseUrl: string;
  headers: Record<string, string>;
};

export type EditRoute = {
  path: string;
  /** Name of the parts that carry references: `image`, or `image[]` where several may come. */
  imageField: string;
  maskField: string;
};

export function joinUrl(baseUrl: string, path: string): string {
  return baseUrl.replace(/\/+$/, "") + path;
}

/** The header with the key; none for servers that ask for none. */
export function bearer(apiKey: string | null): Record<string, string> {
  return apiKey === null || apiKey === "" ? {} : { authorization: `Bearer ${apiKey}` };
}

/** The members of `fields` that a job's parameters have; a compression means nothing to a png. */
export function pickParameters(job: Job, fields: readonly string[]): JsonObject {
  const picked: JsonObject = {};
  for (const field of fields) {
    const value = field === "output_format" ? job.format : job.parameters[field];
    if (value === undefined) continue;
    if (field === "output_compression" && job.format === "png") continue;
    picked[field] = value;
  }
  return picked;
}

export function jsonSubmit(endpoint: Endpoint, path: string, body: JsonObject): VendorRequest {
  return {
    verb: "submit",
    method: "POST",
    url: joinUrl(endpoint.baseUrl, path),
    headers: { ...endpoint.headers, "content-type": "application/json" },
    body: JSON.stringify(body),
  };
}

/** An edit as a form with the references' bytes: a URL would show them to a second fetcher. */
export async function formSubmit(
  endpoint: Endpoint,
  route: EditRoute,
  fields: JsonObject,
  { job, call }: { job: Job; call: Call },
): Promise<VendorRequest> {
  const texts = Object.entries(fields).map(([name, value]) => ({
    name,
    value: typeof value === "string" ? value : JSON.stringify(value),
  }));
  const files = job.references.map((reference, index) =>
    fileOf(route.imageField, `ref-${index}`, reference),
  );
  if (job.mask !== null) files.push(fileOf(route.maskField, "mask", job.mask));
  const form = encodeForm([...texts, ...(await Promise.all(files))], call.attemptId);
  return {
    verb: "submit",
    method: "POST",
    url: joinUrl(endpoint.baseUrl, route.path),
    headers: { ...endpoint.headers, "content-type": form.contentType },
    body: form.body,
  };
}

export function healthCheck(endpoint: Endpoint, path: string): VendorRequest {
  return {
    verb: "check",
    method: "GET",
    url: joinUrl(endpoint.baseUrl, path),
    headers: endpoint.headers,
  };
}

async function fileOf(
  name: string,
  stem: string,
  { contentType, read }: ReferencePicture,
): Promise<FormPart> {
  const extension = contentType.slice("image/".length);
  return { name, filename: `${stem}.${extension}`, contentType, bytes: await read() };
}

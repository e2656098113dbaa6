/**
 * Servers that speak the OpenAI Images protocol in their own way: LocalAI, SGLang-Diffusion, vLLM-Omni,
 * sd-server, Ollama and others that an operator runs. Only what all understand is sent, plus what the
 * quirks say; pictures may come as base64 or as links, and everything else in a reply may be missing.
 */
import { createHash } from "node:crypto";

import type { JsonObject } from "../lib/json.ts";
import { ProviderError } from "./adapter.ts";
import type { Adapter, Call, Job, Picture, Step } from "./adapter.ts";
import type { Quirks } from "./openai-compatible-profiles.ts";
import { finishedStep, healthOf } from "./openai-reply.ts";
import {
  bearer,
  formSubmit,
  healthCheck,
  joinUrl,
  jsonSubmit,
  pickParameters,
} from "./openai-request.ts";
import type { Endpoint } from "./openai-request.ts";
import { reportHealth } from "./request.ts";
import type { Send, VendorRequest } from "./request.ts";

export type OpenAiCompatibleSettings = {
  /** With its `/v1`. */
  baseUrl: string;
  /** Null for a server that asks for none. */
  apiKey: string | null;
  quirks: Quirks;
};

export function createOpenAiCompatible(
  settings: OpenAiCompatibleSettings,
  deps: { send: Send },
): Adapter {
  const endpoint = { baseUrl: settings.baseUrl, headers: bearer(settings.apiKey) };
  const { healthPath, picturesMax } = settings.quirks;
  return {
    name: "openai-compatible",
    picturesMax,
    resend: "never",
    readsReferencesOn: "submit",
    submit: (job, call) => submit(endpoint, settings.quirks, deps.send, { job, call }),
    check: (call) =>
      reportHealth(async () =>
        healthOf(await deps.send(healthCheck(endpoint, healthPath), call), call),
      ),
  };
}

type Work = { job: Job; call: Call };

async function submit(endpoint: Endpoint, quirks: Quirks, send: Send, work: Work): Promise<Step> {
  const request = await requestOf(endpoint, quirks, work);
  return finishedStep(await send(request, work.call), work.job, work.call, (url) =>
    pictureAt(endpoint, url),
  );
}

async function requestOf(endpoint: Endpoint, quirks: Quirks, work: Work): Promise<VendorRequest> {
  const { job } = work;
  const { generationsPath: path, edits } = quirks;
  const fields = fieldsOf(quirks, work);
  if (job.references.length === 0 && job.mask === null) return jsonSubmit(endpoint, path, fields);
  if (edits === null) throw unfit("references");
  if (edits.kind === "form") {
    if (job.mask !== null && edits.maskField === null) throw unfit("masks");
    const route = { ...edits, maskField: edits.maskField ?? "" };
    return formSubmit(endpoint, route, fields, work);
  }
  if (job.mask !== null) throw unfit("masks");
  const pictures = await Promise.all(job.references.map(({ read }) => read()));
  const encoded = pictures.map((bytes) => Buffer.from(bytes).toString("base64"));
  return jsonSubmit(endpoint, path, { ...fields, [edits.field]: encoded });
}

function unfit(what: string): ProviderError {
  // Nothing was sent, and another channel may take it.
  return new ProviderError("unserved", `this channel's server takes no ${what}; see its settings`);
}

function fieldsOf(quirks: Quirks, { job, call }: Work): JsonObject {
  const { responseFormat, seedField, parameters, extraBody } = quirks;
  return {
    ...extraBody,
    ...(seedField === null ? {} : { [seedField]: seedOf(call.attemptId) }),
    ...pickParameters(job, parameters),
    ...(responseFormat === null ? {} : { response_format: responseFormat }),
    // Some servers refuse or ignore `n`; they are given one picture at a time and not told so.
    ...(quirks.picturesMax === 1 ? {} : { n: job.slots.length }),
    model: job.upstreamModel,
    prompt: disarm(quirks.promptSyntax, job.prompt),
    size: `${job.width}x${job.height}`,
  };
}

/** A seed an attempt, because a server with a fixed one would make equal pictures of equal prompts. */
function seedOf(attemptId: string): number {
  return createHash("sha256").update(attemptId).digest().readUInt32BE() >>> 1;
}

/**
 * A prompt whose control words are words again: callers describe pictures, they do not set options of
 * the operator's server. A space or another bar is put in, which cannot make a new control word.
 */
function disarm(syntax: Quirks["promptSyntax"], prompt: string): string {
  switch (syntax) {
    case "plain":
      return prompt;
    case "bar":
      return prompt.replaceAll("|", "¦");
    case "tags":
      return prompt.replaceAll(/<(?=\s*\/?\s*(?:sd_cpp_extra_args|lora\s*:|lyco\s*:))/gi, "< ");
  }
}

/** A link, absolute or relative to the server; the key goes along only to the server itself. */
function pictureAt({ baseUrl, headers }: Endpoint, link: string): Picture {
  const url = URL.parse(link, joinUrl(baseUrl, "/"));
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new ProviderError("garbled", "a picture's link is not an http or https URL");
  }
  const isOwn = url.origin === new URL(baseUrl).origin;
  return isOwn && Object.keys(headers).length > 0
    ? { kind: "url", url: url.href, headers }
    : { kind: "url", url: url.href };
}

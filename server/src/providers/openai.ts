/**
 * The OpenAI Images API: pictures from words as JSON, pictures from pictures as a form. It answers
 * when the work is done and has neither job ids nor idempotency, so an answer that does not come
 * leaves an unknown outcome, and nothing is sent twice.
 */
import type { JsonObject } from "../lib/json.ts";
import { ProviderError } from "./adapter.ts";
import type { Adapter, Call, Job, Step } from "./adapter.ts";
import { finishedStep, healthOf } from "./openai-reply.ts";
import { bearer, formSubmit, healthCheck, jsonSubmit, pickParameters } from "./openai-request.ts";
import type { EditRoute, Endpoint } from "./openai-request.ts";
import { reportHealth } from "./request.ts";
import type { Send } from "./request.ts";

export type OpenAiSettings = {
  /** With its `/v1`. */
  baseUrl: string;
  apiKey: string;
  organization?: string;
  project?: string;
};

/** As many as the upstream makes in one call. */
const picturesMax = 10;

const parameters = ["quality", "background", "moderation", "output_format", "output_compression"];

const edits: EditRoute = { path: "/images/edits", imageField: "image[]", maskField: "mask" };

export function createOpenAi(settings: OpenAiSettings, deps: { send: Send }): Adapter {
  const endpoint = endpointOf(settings);
  return {
    name: "openai",
    picturesMax,
    resend: "never",
    readsReferencesOn: "submit",
    submit: (job, call) => submit(endpoint, deps.send, job, call),
    check: (call) =>
      reportHealth(async () =>
        healthOf(await deps.send(healthCheck(endpoint, "/models"), call), call),
      ),
  };
}

function endpointOf({ baseUrl, apiKey, organization, project }: OpenAiSettings): Endpoint {
  const headers = bearer(apiKey);
  if (organization !== undefined) headers["openai-organization"] = organization;
  if (project !== undefined) headers["openai-project"] = project;
  return { baseUrl, headers };
}

async function submit(settled: Endpoint, send: Send, job: Job, call: Call): Promise<Step> {
  // The vendor keeps it in its logs; it does not make a repeated submit safe.
  const headers = { ...settled.headers, "x-client-request-id": call.attemptId };
  const endpoint = { ...settled, headers };
  const request =
    job.references.length === 0 && job.mask === null
      ? jsonSubmit(endpoint, "/images/generations", fieldsOf(job))
      : await formSubmit(endpoint, edits, editFieldsOf(job), { job, call });
  return finishedStep(await send(request, call), job, call, refuseUrl);
}

function fieldsOf(job: Job): JsonObject {
  return {
    model: job.upstreamModel,
    prompt: job.prompt,
    n: job.slots.length,
    size: `${job.width}x${job.height}`,
    ...pickParameters(job, parameters),
  };
}

/** The form's schema lacks `moderation`; it is accepted there, and sent only when it would change something. */
function editFieldsOf(job: Job): JsonObject {
  const { moderation, ...fields } = fieldsOf(job);
  return moderation === undefined || moderation === "auto" ? fields : { ...fields, moderation };
}

/** This API always answers with base64. */
function refuseUrl(): never {
  throw new ProviderError("garbled", "a picture came as a link instead of its bytes");
}

/**
 * ComfyUI: a workflow is queued under a name that we choose, so a submit may be repeated; then queue and
 * history are asked, and the picture is fetched from the server. History is kept in memory there: after
 * a restart of the server the work is unknown.
 */
import { z } from "zod";

import { redact } from "../lib/log.ts";
import { ProviderError } from "./adapter.ts";
import type { Adapter, Call, FailureKind, Job, JobHandle, Picture, Step } from "./adapter.ts";
import { fillGraph, findWorkflow, outputNodes, promptIdOf } from "./comfyui-graph.ts";
import type { Workflow } from "./comfyui-graph.ts";
import { encodeForm } from "./multipart.ts";
import { describeReply, parseReply, reportHealth, retryAfterMs } from "./request.ts";
import type { Send, VendorReply, VendorRequest } from "./request.ts";

export type ComfyuiSettings = {
  /** Such as `http://127.0.0.1:8188`; may have a path, such as `/api`. */
  baseUrl: string;
  /** Sent as a bearer token, for a proxy in front; ComfyUI itself asks for none. */
  apiKey: string | null;
  /** As `parseWorkflows` gives them. */
  workflows: readonly Workflow[];
};

type Server = ComfyuiSettings & { send: Send };

/** How long a queued work may be seen neither in the queue nor in the history. */
const unknownMsMax = 15_000;
const pollAfterMsMin = 500;
const pollAfterMsMax = 5_000;

export function createComfyui(settings: ComfyuiSettings, deps: { send: Send }): Adapter {
  const server = { ...settings, send: deps.send };
  return {
    name: "comfyui",
    picturesMax: 1,
    resend: "safe",
    readsReferencesOn: "submit",
    resultHosts: [new URL(settings.baseUrl).hostname.replaceAll(/[[\]]/g, "")],
    submit: (job, call) => submitWork(server, job, call),
    poll: (job, handle, call) => pollWork(server, { job, stored: handle }, call),
    cancel: (handle, call) => cancelWork(server, handle, call),
    check: (call) => reportHealth(() => checkServer(server, call)),
  };
}

async function submitWork(server: Server, job: Job, call: Call): Promise<Step> {
  const workflow = workflowFor(server, job);
  const promptId = promptIdOf(call.attemptId);
  const handle = { promptId, submittedAt: call.now };
  const references: string[] = [];
  for (const [index, picture] of job.references.entries()) {
    references.push(await uploadPicture(server, { picture, name: `${promptId}-${index}` }, call));
  }
  const mask =
    job.mask === null
      ? null
      : await uploadPicture(server, { picture: job.mask, name: `${promptId}-mask` }, call);
  const prompt = fillGraph(workflow, { job, attemptId: call.attemptId, references, mask });
  const body = JSON.stringify({ prompt, prompt_id: promptId });
  const reply = await sendPrompt(server, body, call);
  if (reply !== null && !mayHaveArrived(reply)) throw describeRefusal(reply, call);
  return runningStep(handle, call.now);
}

/** Null when no answer came: whether the work is there is for the polls to find out. */
async function sendPrompt(server: Server, body: string, call: Call): Promise<VendorReply | null> {
  try {
    return await server.send({ ...post(server, "prompt", body), verb: "submit" }, call);
  } catch (error) {
    const isLost = error instanceof ProviderError && error.kind === "lost";
    if (!isLost || call.signal.aborted) throw error;
    return null;
  }
}

/** 409: an earlier submit of this attempt is there. 504: a proxy gave up waiting; the polls will tell. */
function mayHaveArrived(reply: VendorReply): boolean {
  return isSuccess(reply) || reply.status === 409 || reply.status === 504;
}

type Upload = { picture: Job["references"][number]; name: string };

/** Repeating it replaces the file by the same one. Gives the name that a graph knows the file by. */
async function uploadPicture(
  server: Server,
  { picture, name }: Upload,
  call: Call,
): Promise<string> {
  const { contentType } = picture;
  const filename = `${name}.${contentType.slice("image/".length)}`;
  const form = encodeForm(
    [
      { name: "image", filename, contentType, bytes: await picture.read() },
      { name: "type", value: "input" },
      { name: "subfolder", value: uploadFolder },
      { name: "overwrite", value: "true" },
    ],
    call.attemptId,
  );
  const { headers, ...request } = post(server, "upload/image", form.body);
  const reply = await server.send(
    // As a "check", because one that is lost has begun nothing.
    { ...request, verb: "check", headers: { ...headers, "content-type": form.contentType } },
    call,
  );
  if (!isSuccess(reply)) throw describeRefusal(reply, call);
  const stored = uploadSchema.safeParse(reply.json);
  if (!stored.success) {
    // Not "garbled": whatever this server did with the file, no work has begun.
    const message = `ComfyUI did not say where it keeps the file: ${describeReply(reply)}`;
    throw new ProviderError("unavailable", message);
  }
  const { name: file, subfolder } = stored.data;
  return subfolder ? `${subfolder}/${file}` : file;
}

/** First the queue, then the history: work never moves the other way, so it is not missed between. */
async function pollWork(
  server: Server,
  { job, stored }: { job: Job; stored: JobHandle },
  call: Call,
): Promise<Step> {
  const handle = parseHandle(stored);
  if ((await findInQueue(server, handle, call)) !== null) return runningStep(handle, call.now);
  const path = `history/${encodeURIComponent(handle.promptId)}`;
  const reply = await server.send(get(server, path, "poll"), call);
  if (!isSuccess(reply)) throw describePollError(reply, call);
  const history = parsePassing(historySchema, reply);
  const entry = history[handle.promptId];
  if (entry !== undefined) return finishedStep(server, { job, entry });
  if (call.now - handle.submittedAt < unknownMsMax) return runningStep(handle, call.now);
  throw new ProviderError("vanished", `ComfyUI does not know the work ${handle.promptId}`);
}

async function findInQueue(
  server: Server,
  { promptId }: Handle,
  call: Call,
): Promise<"running" | "pending" | null> {
  const reply = await server.send(get(server, "queue", "poll"), call);
  if (!isSuccess(reply)) throw describePollError(reply, call);
  const { queue_running, queue_pending } = parsePassing(queueSchema, reply);
  const holds = (items: readonly unknown[][]): boolean => items.some(([, id]) => id === promptId);
  if (holds(queue_running)) return "running";
  return holds(queue_pending) ? "pending" : null;
}

/** An interrupt stops whatever runs where the server is an older one, so it is sent only to our work. */
async function cancelWork(server: Server, stored: JobHandle, call: Call): Promise<void> {
  const handle = parseHandle(stored);
  const place = await findInQueue(server, handle, call);
  if (place === null) return;
  const { promptId } = handle;
  const request =
    place === "running"
      ? post(server, "interrupt", JSON.stringify({ prompt_id: promptId }))
      : post(server, "queue", JSON.stringify({ delete: [promptId] }));
  await server.send({ ...request, verb: "cancel" }, call);
}

async function checkServer(server: Server, call: Call): Promise<{ ok: boolean; detail: string }> {
  const reply = await server.send(get(server, "system_stats", "check"), call);
  if (!isSuccess(reply)) throw describeRefusal(reply, call);
  const { system, devices } = parseReply(statsSchema, reply);
  const version = system?.comfyui_version ?? "of an unknown version";
  const names = (devices ?? []).map(({ name }) => name ?? "a device").join(", ");
  return { ok: true, detail: `ComfyUI ${version} on ${names === "" ? "no device" : names}.` };
}

function workflowFor({ workflows }: Server, job: Job): Workflow {
  const workflow = findWorkflow(workflows, job);
  if (workflow !== null) return workflow;
  const mask = job.mask === null ? "" : " and a mask";
  // Nothing was sent, and another channel may take it.
  throw new ProviderError(
    "unserved",
    `no workflow of the channel takes ${job.references.length} references${mask} for ${job.upstreamModel}`,
  );
}

const uploadFolder = "darkroom";

/** A queue and a history hold whole graphs, pictures never. */
const bytesMax = 16 * 1_048_576;

type Addressed = Omit<VendorRequest, "verb">;

function get(server: Server, path: string, verb: "poll" | "check"): VendorRequest {
  return { verb, method: "GET", url: urlOf(server, path), headers: headersOf(server), bytesMax };
}

function post(server: Server, path: string, body: string | Uint8Array): Addressed {
  const headers = { ...headersOf(server), "content-type": "application/json" };
  return { method: "POST", url: urlOf(server, path), headers, body, bytesMax };
}

function urlOf({ baseUrl }: ComfyuiSettings, path: string): string {
  return `${baseUrl.replace(/\/+$/, "")}/${path}`;
}

function headersOf({ apiKey }: ComfyuiSettings): Record<string, string> {
  return apiKey === null ? {} : { authorization: `Bearer ${apiKey}` };
}

const uploadSchema = z.object({ name: z.string().min(1), subfolder: z.string().nullish() });

const queueItems = z.array(z.array(z.unknown()));
const queueSchema = z.object({ queue_running: queueItems, queue_pending: queueItems });

const imageSchema = z.object({
  filename: z.string().min(1).max(1_024),
  subfolder: z.string().max(1_024).nullish(),
  type: z.string().max(64).nullish(),
});

const entrySchema = z.object({
  outputs: z
    .record(z.string(), z.object({ images: z.array(imageSchema).nullish().catch(null) }))
    .nullish(),
  status: z.object({ status_str: z.string().nullish(), messages: z.unknown() }).nullish(),
});

const messagesSchema = z.array(
  z.tuple([
    z.string(),
    z.object({ node_type: z.string().nullish(), exception_message: z.string().nullish() }),
  ]),
);

const historySchema = z.record(z.string(), entrySchema);

const statsSchema = z.object({
  system: z.object({ comfyui_version: z.string().max(64).nullish() }).nullish(),
  devices: z.array(z.object({ name: z.string().max(256).nullish() })).nullish(),
});

const handleSchema = z.object({
  promptId: z.string(),
  /** Unix milliseconds. */
  submittedAt: z.number(),
});

type Handle = z.infer<typeof handleSchema>;
type Finished = { job: Job; entry: z.infer<typeof entrySchema> };

/** Another page than ComfyUI's is of somebody in between: the work goes on, and is asked for again. */
function parsePassing<T>(schema: z.ZodType<T>, reply: VendorReply): T {
  if (reply.json !== undefined) return parseReply(schema, reply);
  throw new ProviderError("unavailable", `the reply is not JSON: ${describeReply(reply)}`);
}

function finishedStep(server: Server, { job, entry }: Finished): Step {
  // Told of the picture and not thrown: a poll that is unavailable would be asked again.
  if (entry.status?.status_str === "error") {
    const message = `ComfyUI failed at the workflow: ${describeMessages(entry.status.messages)}`;
    return failedStep(new ProviderError("unavailable", message));
  }
  // Settings may have changed since the submit; then every saved picture will do.
  const workflow = findWorkflow(server.workflows, job);
  const wanted = workflow === null ? [] : outputNodes(workflow);
  const images = Object.entries(entry.outputs ?? {})
    .filter(([node]) => wanted.length === 0 || wanted.includes(node))
    .flatMap(([, output]) => output.images ?? [])
    // Previews are "temp".
    .filter(({ type }) => (type ?? "output") === "output");
  const [image] = images;
  if (image === undefined) {
    const message = "ComfyUI ended the workflow without a saved picture";
    return failedStep(new ProviderError("garbled", message, { taskError: "no_image" }));
  }
  return { status: "done", pictures: [pictureAt(server, image)], usage: {} };
}

/** The events of a failed work, of which the last says which node failed and why. */
function describeMessages(messages: unknown): string {
  const parsed = messagesSchema.safeParse(messages);
  const [event, facts] = (parsed.success ? parsed.data.at(-1) : null) ?? [];
  const text = [event, facts?.node_type, facts?.exception_message].filter(Boolean).join(": ");
  return redact(text === "" ? "it does not say why" : text, 300);
}

function failedStep(failure: ProviderError): Step {
  return { status: "done", pictures: [{ kind: "failed", failure }], usage: {} };
}

function pictureAt(server: Server, image: z.infer<typeof imageSchema>): Picture {
  const query = new URLSearchParams({
    filename: image.filename,
    subfolder: image.subfolder ?? "",
    type: "output",
  });
  const url = `${urlOf(server, "view")}?${query.toString()}`;
  return { kind: "url", url, headers: headersOf(server) };
}

function runningStep(handle: Handle, now: number): Step {
  const ageMs = now - handle.submittedAt;
  const pollAfterMs = Math.round(Math.min(pollAfterMsMax, Math.max(pollAfterMsMin, ageMs / 10)));
  return { status: "running", handle, pollAfterMs };
}

function parseHandle(stored: JobHandle): Handle {
  const handle = handleSchema.safeParse(stored);
  if (handle.success) return handle.data;
  throw new ProviderError("vanished", "the handle is not one of ComfyUI");
}

function isSuccess({ status }: VendorReply): boolean {
  return status >= 200 && status < 300;
}

function describeRefusal(reply: VendorReply, call: Call): ProviderError {
  const message = `ComfyUI did not take the work: ${describeReply(reply)}`;
  return withWait(kindOfRefusal(reply.status), message, { reply, call });
}

function kindOfRefusal(status: number): FailureKind {
  if (status === 401 || status === 403) return "unauthorized";
  if (status === 429) return "rate_limited";
  // Nothing was made: what cannot be found is not ComfyUI, and its own errors come before the queue.
  if ([404, 405, 408].includes(status) || status >= 500) return "unavailable";
  return "bad_request";
}

/** Whatever goes wrong with a question, the work goes on. */
function describePollError(reply: VendorReply, call: Call): ProviderError {
  const message = `ComfyUI did not say how the work stands: ${describeReply(reply)}`;
  return withWait(reply.status === 429 ? "rate_limited" : "unavailable", message, { reply, call });
}

function withWait(
  kind: FailureKind,
  message: string,
  { reply, call }: { reply: VendorReply; call: Call },
): ProviderError {
  const waitMs = retryAfterMs(reply.headers, call.now);
  return new ProviderError(kind, message, waitMs === undefined ? {} : { retryAfterMs: waitMs });
}

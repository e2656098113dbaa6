/**
 * Black Forest Labs: submit, then poll for a link to one picture. Work lives in the region that took it,
 * so it is asked for under the very URL that the submit returned; and because that URL comes from
 * outside, the key goes there only when the host is the vendor's or the configured one.
 */
import { z } from "zod";

import { ProviderError } from "./adapter.ts";
import type { Adapter, Call, FailureKind, Health, Job, JobHandle, Step, Usage } from "./adapter.ts";
import { describeReply, parseReply, reportHealth, retryAfterMs } from "./request.ts";
import type { Send, VendorReply } from "./request.ts";

export type BflSettings = {
  /** A bare origin such as `https://api.bfl.ai`. */
  baseUrl: string;
  apiKey: string;
};

type Vendor = BflSettings & { send: Send };

const vendorHosts = "*.bfl.ai";
/** A price of one credit is 0.01 USD. */
const microsPerCredit = 10_000;
/** Just after a submit, a region may not know its own work yet. */
const unknownMsMax = 15_000;
const pollAfterMsMin = 500;
const pollAfterMsMax = 5_000;
/** FLUX.2 makes pictures whose sides are multiples of this. */
const sideStep = 16;

export function createBfl(settings: BflSettings, deps: { send: Send }): Adapter {
  const vendor = { ...settings, send: deps.send };
  return {
    name: "bfl",
    picturesMax: 1,
    resend: "never",
    readsReferencesOn: "submit",
    resultHosts: hostsOf(settings.baseUrl),
    submit: (job, call) => submitWork(vendor, job, call),
    poll: (_job, handle, call) => pollWork(vendor, handle, call),
    check: (call) => reportHealth(() => checkAccount(vendor, call)),
  };
}

async function submitWork(vendor: Vendor, job: Job, call: Call): Promise<Step> {
  const reply = await vendor.send(
    {
      verb: "submit",
      method: "POST",
      url: urlOf(vendor, `/v1/${encodeURIComponent(job.upstreamModel)}`),
      headers: { ...headersOf(vendor), "content-type": "application/json" },
      body: JSON.stringify(await describeWork(job)),
      bytesMax: taskBytesMax,
    },
    call,
  );
  if (!isSuccess(reply)) throw describeRefusal(reply, call.now);
  return readSubmit(vendor, reply, call.now);
}

async function pollWork(vendor: Vendor, stored: JobHandle, call: Call): Promise<Step> {
  const handle = parseHandle(stored);
  assertMayPoll(vendor, handle.pollingUrl);
  const reply = await vendor.send(
    {
      verb: "poll",
      method: "GET",
      url: handle.pollingUrl,
      headers: headersOf(vendor),
      bytesMax: taskBytesMax,
      hosts: hostsOf(vendor.baseUrl),
    },
    call,
  );
  // A task is also told of under an error's status: 422 for a failed one, 404 for an unknown one.
  const task = taskSchema.safeParse(reply.json);
  if (task.success) return readTask(handle, { task: task.data, reply }, call.now);
  return readPollError(handle, reply, call.now);
}

async function checkAccount(vendor: Vendor, call: Call): Promise<Health> {
  const url = urlOf(vendor, "/v1/credits");
  const headers = headersOf(vendor);
  const reply = await vendor.send({ verb: "check", method: "GET", url, headers }, call);
  if (isSuccess(reply)) {
    const { credits } = parseReply(creditsSchema, reply);
    const usd = ((credits * microsPerCredit) / 1_000_000).toFixed(2);
    return { ok: credits > 0, detail: `The account has ${credits} credits (${usd} USD).` };
  }
  const isForeign = reply.status === 401 || reply.status === 403;
  const finding = isForeign ? "The key is not accepted" : "The balance cannot be read";
  return { ok: false, detail: `${finding}: ${describeReply(reply)}` };
}

function headersOf({ apiKey }: BflSettings): Record<string, string> {
  return { accept: "application/json", "x-key": apiKey };
}

function urlOf({ baseUrl }: BflSettings, path: string): string {
  return new URL(path, baseUrl).href;
}

async function describeWork(job: Job): Promise<Record<string, unknown>> {
  const { safety_tolerance, prompt_upsampling } = job.parameters;
  return {
    prompt: job.prompt,
    ...describeSize(job),
    output_format: job.format,
    safety_tolerance,
    prompt_upsampling,
    ...(await describeReferences(job)),
  };
}

/**
 * Models with resolution tiers (FLUX.2) take pixels, the others (Kontext) a ratio. Without a ratio the
 * vendor keeps that of the reference, which is what the words other than a ratio mean.
 */
function describeSize({ parameters, width, height }: Job): Record<string, unknown> {
  if ("resolution" in parameters) return { width: roundUp(width), height: roundUp(height) };
  const { size } = parameters;
  const isRatio = typeof size === "string" && /^\d+:\d+$/.test(size);
  return isRatio ? { aspect_ratio: size } : {};
}

function roundUp(pixels: number): number {
  return Math.ceil(pixels / sideStep) * sideStep;
}

async function describeReferences({ references }: Job): Promise<Record<string, string>> {
  const fields: Record<string, string> = {};
  for (const [index, reference] of references.entries()) {
    const bytes = await reference.read();
    const name = index === 0 ? "input_image" : `input_image_${index + 1}`;
    fields[name] = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
  }
  return fields;
}

/** A task's reply holds a link and a prompt, never a picture. */
const taskBytesMax = 1_048_576;
const urlLengthMax = 4_096;

const submitSchema = z.object({
  id: z.string().min(1).max(256),
  polling_url: z.string().max(urlLengthMax).nullish(),
  cost: z.number().nullish().catch(null),
});

const taskSchema = z.object({
  // Errors of servers in between have a `status` too.
  id: z.string(),
  status: z.string(),
  progress: z.number().nullish().catch(null),
  result: z
    .object({ sample: z.string().max(urlLengthMax).nullish() })
    .nullish()
    .catch(null),
  details: z.object({ error: z.unknown() }).nullish().catch(null),
  cost: z.number().nullish().catch(null),
});

const creditsSchema = z.object({ credits: z.number() });

const handleSchema = z.object({
  id: z.string(),
  pollingUrl: z.string(),
  /** In credits, as the submit told it. */
  cost: z.number().nullable(),
  /** Unix milliseconds. */
  submittedAt: z.number(),
});

type Handle = z.infer<typeof handleSchema>;
type Told = { task: z.infer<typeof taskSchema>; reply: VendorReply };

function readSubmit(vendor: Vendor, reply: VendorReply, now: number): Step {
  const { id, polling_url, cost } = parseReply(submitSchema, reply);
  const known = polling_url ?? urlOf(vendor, `/v1/get_result?id=${encodeURIComponent(id)}`);
  assertMayPoll(vendor, known);
  return runningStep({ id, pollingUrl: known, cost: cost ?? null, submittedAt: now }, now);
}

function readTask(handle: Handle, { task, reply }: Told, now: number): Step {
  switch (task.status.toLowerCase()) {
    case "ready":
      return readPicture(handle, task);
    case "request moderated":
    case "content moderated":
      throw new ProviderError("refused", `BFL refused the content: ${describeReply(reply)}`);
    case "error":
    case "failed":
      return describeFailedWork({ task, reply });
    case "task not found":
      return waitForUnknown(handle, reply, now);
    default:
      // States come and go with models; a task in an unknown one ends by its deadline at the latest.
      return runningStep(handle, now, task.progress ?? undefined);
  }
}

function readPicture(handle: Handle, task: Told["task"]): Step {
  const url = task.result?.sample;
  if (url === null || url === undefined || url === "") {
    const message = `BFL says that task ${handle.id} is ready and names no picture`;
    throw new ProviderError("garbled", message, { taskError: "no_image" });
  }
  return {
    status: "done",
    pictures: [{ kind: "url", url }],
    usage: usageOf(task.cost ?? handle.cost),
  };
}

/** The final report is exact, the submit's an estimate. */
function usageOf(credits: number | null): Usage {
  const cost = credits === null ? -1 : Math.round(credits * microsPerCredit);
  return Number.isSafeInteger(cost) && cost >= 0 ? { cost } : {};
}

/** The vendor's task ended without a picture. Where it says why, what we sent was at fault. */
function describeFailedWork({ task, reply }: Told): Step {
  const message = `BFL made no picture: ${describeReply(reply)}`;
  const isExplained = (task.details?.error ?? null) !== null || reply.status === 422;
  const failure = new ProviderError(isExplained ? "bad_request" : "unavailable", message);
  // Told of the picture and not thrown: a poll that is unavailable would be asked again.
  return {
    status: "done",
    pictures: [{ kind: "failed", failure }],
    usage: usageOf(task.cost ?? null),
  };
}

function waitForUnknown(handle: Handle, reply: VendorReply, now: number): Step {
  if (now - handle.submittedAt < unknownMsMax) return runningStep(handle, now);
  const message = `BFL does not know task ${handle.id} any more: ${describeReply(reply)}`;
  throw new ProviderError("vanished", message);
}

/** Asks often while most pictures are made, then ever less. `progress` is a share from 0 to 1. */
function runningStep(handle: Handle, now: number, progress?: number): Step {
  const ageMs = now - handle.submittedAt;
  const pollAfterMs = Math.round(Math.min(pollAfterMsMax, Math.max(pollAfterMsMin, ageMs / 10)));
  const step: Step = { status: "running", handle, pollAfterMs };
  if (progress === undefined || progress < 0 || progress > 1) return step;
  return { ...step, progress: Math.min(99, Math.floor(progress * 100)) };
}

function parseHandle(stored: JobHandle): Handle {
  const handle = handleSchema.safeParse(stored);
  if (handle.success) return handle.data;
  throw new ProviderError("vanished", "the handle is not one of BFL");
}

/**
 * Whether the key may be sent to a URL that the vendor named: over https to a host of the vendor, or to
 * the configured origin itself.
 */
export function mayPoll(pollingUrl: string, baseUrl: string): boolean {
  const url = URL.parse(pollingUrl);
  if (url === null || url.username !== "" || url.password !== "") return false;
  if (url.origin === new URL(baseUrl).origin) return true;
  return url.protocol === "https:" && url.port === "" && url.hostname.endsWith(".bfl.ai");
}

function assertMayPoll({ baseUrl }: BflSettings, pollingUrl: string): void {
  if (mayPoll(pollingUrl, baseUrl)) return;
  const host = URL.parse(pollingUrl)?.host ?? "no host";
  const message = `the polling URL leads to ${host.slice(0, 253)}, which is not a host of BFL`;
  throw new ProviderError("garbled", message);
}

function hostsOf(baseUrl: string): readonly string[] {
  return [vendorHosts, new URL(baseUrl).hostname.replaceAll(/[[\]]/g, "")];
}

function isSuccess({ status }: VendorReply): boolean {
  return status >= 200 && status < 300;
}

function describeRefusal(reply: VendorReply, now: number): ProviderError {
  const waitMs = retryAfterMs(reply.headers, now);
  const message = `BFL did not take the work: ${describeReply(reply)}`;
  const kind = kindOfRefusal(reply.status, waitMs !== undefined);
  return new ProviderError(kind, message, waitMs === undefined ? {} : { retryAfterMs: waitMs });
}

function kindOfRefusal(status: number, isInvitedBack: boolean): FailureKind {
  switch (status) {
    case 401:
    case 403:
      return "unauthorized";
    case 402:
      return "exhausted";
    case 429:
      return "rate_limited";
    // A model that this account does not have, or has no more: another channel may.
    case 404:
    case 410:
      return "unserved";
    case 408:
    case 501:
      return "unavailable";
    case 503:
      return isInvitedBack ? "unavailable" : "lost";
    default:
      // After a server error the work may be under way, under a name that we were not told.
      return status >= 500 ? "lost" : "bad_request";
  }
}

/**
 * A poll that went wrong says nothing about the work, which may be done and billed. So a key that is
 * not accepted, too, is a reason to ask again, and not to have the picture made elsewhere.
 */
function readPollError(handle: Handle, reply: VendorReply, now: number): Step {
  const { status } = reply;
  if (status === 404 || status === 410) return waitForUnknown(handle, reply, now);
  const message = `BFL did not say how the work stands: ${describeReply(reply)}`;
  const waitMs = retryAfterMs(reply.headers, now);
  const options = waitMs === undefined ? {} : { retryAfterMs: waitMs };
  if (status === 429) throw new ProviderError("rate_limited", message, options);
  const isPassing = [401, 402, 403, 408].includes(status) || status >= 500;
  // A page of somebody in between, not an answer of the vendor.
  const isPage = isSuccess(reply) && reply.json === undefined;
  throw new ProviderError(isPassing || isPage ? "unavailable" : "garbled", message, options);
}

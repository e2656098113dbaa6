/**
 * Black Forest Labs as a real HTTP server: regional polling URLs, task bodies under error statuses, a
 * limit on active tasks, signed links that expire, sides rounded down to multiples of 16.
 */
import { createHash } from "node:crypto";

import type { JsonObject } from "../../src/lib/json.ts";
import {
  findIssue,
  formatOf,
  measureInputs,
  megapixels,
  readJson,
  roundDown,
  sizeOf,
} from "./bfl-request.ts";
import type { Format, Size } from "./bfl-request.ts";
import { createFaultPlan } from "./fault-plan.ts";
import type { Faults } from "./fault-plan.ts";
import { paintEmulated } from "./pictures.ts";
import { startVendorServer, textOf } from "./vendor-server.ts";
import type { EmulatorReply, RecordedRequest } from "./vendor-server.ts";

export const emulatedBflKey = "bfl-emulated-key-0123456789";

export type BflRoute = "submit" | "poll" | "check" | "sample";

export type BflOutcome =
  | "ready"
  | "ready_without_sample"
  | "request_moderated"
  | "content_moderated"
  | "error"
  /** An error task, polled with HTTP 422. */
  | "error_422"
  /** An error task that does not say why. */
  | "error_unexplained"
  | "failed"
  /** Active for ever. */
  | "stuck";

export type BflOptions = {
  key?: string;
  /** Unix milliseconds, for the links to results; the system's by default. */
  now?: () => number;
};

/** What a test may change at any time; works keep the outcome that they were submitted under. */
export type BflChanges = {
  /** A word in the prompt chooses too: `{{content_moderated}}`. */
  outcome?: BflOutcome;
  /** Polls that find the work under way before it ends; default 2. */
  pollsBeforeEnd?: number;
  /** First polls that are answered "Task not found"; default 0. */
  pollsUnknown?: number;
  /** Where polling URLs lead instead of the region's own place. */
  pollingOrigin?: string | null;
  /** Balance; a submit that it does not cover is a 402. */
  credits?: number;
  /** How long a link to a result works; default ten minutes. */
  sampleTtlMs?: number;
  /** Pixels of the pictures, whatever was asked for. */
  pictureSize?: { width: number; height: number } | null;
  /** Faults by route. */
  submit?: Faults;
  poll?: Faults;
  check?: Faults;
  sample?: Faults;
};

export type BflWork = {
  id: string;
  model: string;
  prompt: string;
  outcome: BflOutcome;
  /** What it costs when it delivers. */
  credits: number;
};

export type BflEmulator = {
  /** `http://127.0.0.1:PORT`: the base URL of a channel. */
  origin: string;
  readonly requests: readonly RecordedRequest[];
  /** Every work that was begun, in order. */
  readonly works: readonly BflWork[];
  /** Those that are charged: the ones that end with a picture, from their beginning on. */
  readonly billed: readonly BflWork[];
  set(changes: BflChanges): void;
  /** Forgets every work, as after its retention. */
  forget(): void;
  untilHanging(): Promise<void>;
  stop(): Promise<void>;
};

type Task = BflWork & {
  polls: number;
  format: Format;
  width: number;
  height: number;
  seed: number;
  sampleExpiresAt: number;
};

/** The region that takes all work; polling anywhere else finds nothing. */
const region = "/eu2";
const activeMaxByModel: Record<string, number> = { "flux-kontext-max": 6 };
const activeMaxDefault = 24;
const prices: Record<string, { first: number; further: number; input: number }> = {
  "flux-2-pro": { first: 3, further: 1.5, input: 1.5 },
  "flux-2-flex": { first: 5, further: 5, input: 5 },
  "flux-2-max": { first: 7, further: 3, input: 3 },
  "flux-kontext-pro": { first: 4, further: 0, input: 0 },
  "flux-kontext-max": { first: 8, further: 0, input: 0 },
};

const statusWords = ["Pending", "Reasoning", "Generating"];

export async function startBflEmulator(options: BflOptions = {}): Promise<BflEmulator> {
  const { key = emulatedBflKey, now = Date.now } = options;
  const state = {
    outcome: "ready" as BflOutcome,
    pollsBeforeEnd: 2,
    pollsUnknown: 0,
    pollingOrigin: null as string | null,
    credits: 100_000,
    sampleTtlMs: 600_000,
    pictureSize: null as Size | null,
  };
  const tasks = new Map<string, Task>();
  const works: Task[] = [];

  const isBilled = ({ outcome }: BflWork): boolean => outcome.startsWith("ready");
  const hasEnded = (task: Task): boolean =>
    task.outcome !== "stuck" && task.polls > state.pollsBeforeEnd + state.pollsUnknown;

  function countActive(model: string): number {
    const isAlone = model in activeMaxByModel;
    return [...tasks.values()].filter(
      (task) => !hasEnded(task) && (isAlone ? task.model === model : true),
    ).length;
  }

  async function submit(model: string, body: JsonObject): Promise<EmulatorReply> {
    const price = prices[model];
    if (price === undefined) return { status: 404, body: { detail: "Not Found" } };
    const issue = findIssue(model, body);
    if (issue !== null) return { status: 422, body: { detail: [issue] } };
    if (countActive(model) >= (activeMaxByModel[model] ?? activeMaxDefault)) {
      return { status: 429, body: { detail: "Too many active tasks." } };
    }
    const inputs = await measureInputs(body);
    const asked = inputs === null ? { width: 1_024, height: 1_024 } : sizeOf(body, inputs);
    const inputMp = (inputs ?? []).reduce((sum, size) => sum + megapixels(size), 0);
    const outputMp = megapixels(asked);
    const credits = price.first + Math.max(0, outputMp - 1) * price.further + inputMp * price.input;
    if (credits > state.credits) return { status: 402, body: { detail: "Insufficient credits" } };
    const task: Task = {
      id: uuidOf(`task ${works.length}`),
      model,
      prompt: textOf(body["prompt"]),
      outcome: inputs === null ? "error" : outcomeOf(textOf(body["prompt"]), state.outcome),
      credits: Math.round(credits * 100) / 100,
      polls: 0,
      format: formatOf(model, body),
      seed: Number(body["seed"] ?? works.length),
      sampleExpiresAt: 0,
      ...(state.pictureSize ?? roundDown(asked)),
    };
    tasks.set(task.id, task);
    works.push(task);
    if (isBilled(task)) state.credits -= task.credits;
    const costs = model.startsWith("flux-2")
      ? { cost: task.credits, input_mp: inputMp, output_mp: outputMp }
      : {};
    const { webhook_url } = body;
    if (webhook_url !== undefined) {
      return { status: 200, body: { id: task.id, status: "Pending", webhook_url, ...costs } };
    }
    const origin = state.pollingOrigin ?? `${server.origin}${region}`;
    const polling_url = `${origin}/v1/get_result?id=${task.id}`;
    return { status: 200, body: { id: task.id, polling_url, ...costs } };
  }

  function poll(id: string, isHome: boolean): EmulatorReply {
    const task = tasks.get(id);
    if (task === undefined || !isHome) {
      return { status: 404, body: taskBody(id, "Task not found") };
    }
    task.polls += 1;
    if (task.polls <= state.pollsUnknown) {
      return { status: 200, body: taskBody(id, "Task not found") };
    }
    if (!hasEnded(task)) {
      const seen = task.polls - state.pollsUnknown;
      const progress = Math.min(0.99, seen / (state.pollsBeforeEnd + 1));
      const status = statusWords[(seen - 1) % statusWords.length]!;
      return { status: 200, body: taskBody(id, status, { progress }) };
    }
    if (task.sampleExpiresAt <= now()) task.sampleExpiresAt = now() + state.sampleTtlMs;
    return endOf(task, sampleUrl(server.origin, task));
  }

  async function download(path: string, query: URLSearchParams): Promise<EmulatorReply> {
    const task = tasks.get(path.split("/")[2] ?? "");
    const isSigned = task !== undefined && query.get("sig") === signatureOf(task);
    const isLate = Date.parse(query.get("se") ?? "") <= now();
    if (!isSigned || isLate) {
      const body = Buffer.from("<Error><Code>AuthenticationFailed</Code></Error>");
      return { status: 403, body, headers: { "content-type": "application/xml" } };
    }
    const type = `image/${task.format}`;
    return { status: 200, body: await draw(task), headers: { "content-type": type } };
  }

  function answer(request: RecordedRequest): Promise<EmulatorReply> {
    const { pathname, searchParams } = new URL(request.path, server.origin);
    if (pathname.startsWith("/results/")) {
      return faults.answer("sample", () => download(pathname, searchParams));
    }
    const refusal = refuseKey(request.headers["x-key"], key);
    if (pathname === "/v1/credits") {
      const body = { credits: state.credits };
      return faults.answer("check", () => refusal ?? { status: 200, body });
    }
    if (pathname.endsWith("/v1/get_result")) {
      const id = searchParams.get("id") ?? "";
      return faults.answer("poll", () => refusal ?? poll(id, pathname.startsWith(region)));
    }
    const model = /^\/v1\/([\w.-]+)$/.exec(pathname)?.[1] ?? "";
    return faults.answer("submit", () => refusal ?? submit(model, readJson(request.body)));
  }

  const faults = createFaultPlan<BflRoute>();
  const server = await startVendorServer(answer);
  return {
    origin: server.origin,
    requests: server.requests,
    works,
    get billed() {
      return works.filter(isBilled);
    },
    set: ({ submit: onSubmit, poll: onPoll, check, sample, ...changes }) => {
      Object.assign(state, changes);
      faults.set({ submit: onSubmit, poll: onPoll, check, sample });
    },
    forget: () => tasks.clear(),
    untilHanging: faults.untilHanging,
    stop: server.stop,
  };
}

function refuseKey(given: string | undefined, key: string): EmulatorReply | null {
  if (given === key) return null;
  if (given === undefined) return { status: 403, body: { detail: "Not authenticated" } };
  return { status: 401, body: { detail: "Invalid API key format" } };
}

function outcomeOf(prompt: string, outcome: BflOutcome): BflOutcome {
  const word = /\{\{(\w+)\}\}/.exec(prompt)?.[1];
  return word === undefined ? outcome : (word as BflOutcome); // written by a test
}

function taskBody(id: string, status: string, facts: object = {}): object {
  return { id, status, result: null, progress: null, details: null, preview: null, ...facts };
}

function endOf(task: Task, sample: string): EmulatorReply {
  const told = (status: string, facts: object = {}): EmulatorReply => {
    const code = task.outcome === "error_422" ? 422 : 200;
    return { status: code, body: taskBody(task.id, status, facts) };
  };
  const { prompt, seed, credits: cost } = task;
  switch (task.outcome) {
    case "ready":
    case "ready_without_sample": {
      const link = task.outcome === "ready" ? { sample } : {};
      const result = { ...link, prompt, seed, start_time: 1, end_time: 9, duration: 8 };
      return told("Ready", { result, cost });
    }
    case "request_moderated":
      return told("Request Moderated", { details: { "Moderation Reasons": ["Safety Filter"] } });
    case "content_moderated":
      return told("Content Moderated", {
        details: { "Moderation Reasons": ["Derivative Works Filter"] },
      });
    case "error":
    case "error_422":
      return told("Error", { details: { error: "Invalid or corrupted image input" } });
    case "error_unexplained":
      return told("Error");
    case "failed":
      return told("Failed");
    case "stuck":
      return told("Pending");
  }
}

function sampleUrl(origin: string, task: Task): string {
  const query = new URLSearchParams({
    se: new Date(task.sampleExpiresAt).toISOString(),
    sig: signatureOf(task),
  });
  return `${origin}/results/${task.id}/sample.${task.format}?${query.toString()}`;
}

function signatureOf({ id, sampleExpiresAt }: Task): string {
  return createHash("sha256").update(`${id} ${sampleExpiresAt}`).digest("base64url");
}

function draw({ model, prompt, seed, width, height, format }: Task): Promise<Buffer> {
  return paintEmulated({ width, height, format, seed: `${model}|${prompt}|${seed}` });
}

function uuidOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex").slice(0, 32);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/**
 * The Gemini API as its facts describe it: `generateContent`, Interactions with background works, and the
 * list of models; its key check, its refusals of bad fields and its usage figures.
 */
import type { JsonObject } from "../../src/lib/json.ts";
import {
  findObjection,
  grpcError,
  make,
  presentGenerate,
  readGenerate,
} from "./gemini-generate.ts";
import type { Making, Reply, Work } from "./gemini-generate.ts";
import {
  flatError,
  presentCompleted,
  presentEvents,
  presentHead,
  readInteraction,
} from "./gemini-interact.ts";
import type { Interaction } from "./gemini-interact.ts";
import { geminiModels } from "./gemini-pictures.ts";
import { startVendorServer } from "./vendor-server.ts";
import type {
  EmulatorReply,
  Misbehaviour,
  RecordedRequest,
  VendorServer,
} from "./vendor-server.ts";

export type GeminiEmulatorOptions = { apiKey?: string };

export const emulatedGeminiKey = "AIzaEmulatedGeminiKey0001";

/** A call that made a picture and costs money. The protocol has no id to tell attempts by, so the prompt must do. */
export type BilledCall = {
  route: "generateContent" | "interactions";
  model: string;
  prompt: string;
  outputTokens: number;
  /** Of a work that is stored. */
  id: string | null;
};

export type GeminiVerb = "submit" | "poll" | "cancel" | "delete" | "check";

/** `refusal`: an error before any work; all others: what goes wrong with the answer to work that was done. */
export type GeminiTrouble = { kind: "refusal"; reply: EmulatorReply } | Misbehaviour;

export type GeminiBehaviour = Partial<
  Making & {
    trouble: Partial<Record<GeminiVerb, GeminiTrouble>>;
    takesBackground: boolean;
    /** Times that background work is asked about before it is done. */
    pollsUntilDone: number;
  }
>;

export type GeminiEmulator = Pick<
  VendorServer,
  "origin" | "requests" | "untilAsked" | "bytesSent" | "stop"
> & {
  readonly billed: readonly BilledCall[];
  /** Changes what is named; `trouble` is replaced as a whole. */
  set(behaviour: GeminiBehaviour): void;
  /** Loses every stored work, as a vendor's restart might. */
  forget(): void;
};

/** A work under an id; its answer is made, and billed, at once, and shown when it has been polled enough. */
type Stored = { model: string; polls: number; isCancelled: boolean; completed: JsonObject };

type State = {
  apiKey: string;
  behaviour: Required<GeminiBehaviour>;
  billed: BilledCall[];
  stored: Map<string, Stored>;
  idsGiven: number;
};

export async function startGeminiEmulator(
  options: GeminiEmulatorOptions = {},
): Promise<GeminiEmulator> {
  const state: State = {
    apiKey: options.apiKey ?? emulatedGeminiKey,
    behaviour: {
      dimensions: null,
      thinks: false,
      signatureLength: 12,
      trouble: {},
      takesBackground: true,
      pollsUntilDone: 3,
    },
    billed: [],
    stored: new Map(),
    idsGiven: 0,
  };
  const server = await startVendorServer(async (request) => {
    const route = findRoute(request);
    const trouble = state.behaviour.trouble[route.verb] ?? null;
    if (trouble?.kind === "refusal") {
      server.misbehave(null);
      return trouble.reply;
    }
    const reply = findKeyError(state, route, request) ?? (await answer(state, route, request));
    server.misbehave(trouble);
    return reply;
  });
  return {
    origin: server.origin,
    requests: server.requests,
    untilAsked: server.untilAsked,
    get bytesSent() {
      return server.bytesSent;
    },
    stop: server.stop,
    billed: state.billed,
    set: (behaviour) => void Object.assign(state.behaviour, behaviour),
    forget: () => state.stored.clear(),
  };
}

type Route = { verb: GeminiVerb; name: string; isInteraction: boolean; isKnown: boolean };

function findRoute({ method, path }: RecordedRequest): Route {
  const [place = ""] = path.split("?");
  const generation = /^\/v1(?:beta)?\/models\/([^/:]+):generateContent$/.exec(place);
  const interaction = /^\/v1(?:beta)?\/interactions(?:\/([^/]+)(\/cancel)?)?$/.exec(place);
  const isInteraction = interaction !== null;
  const name = decodeURIComponent(generation?.[1] ?? interaction?.[1] ?? "");
  const route = (verb: GeminiVerb, isKnown = true): Route => {
    return { verb, name, isInteraction, isKnown };
  };
  if (generation !== null) return route("submit", method === "POST");
  if (interaction?.[2] !== undefined) return route("cancel", method === "POST");
  if (isInteraction && name === "") return route("submit", method === "POST");
  if (isInteraction) return route(method === "DELETE" ? "delete" : "poll");
  return route("check", method === "GET" && /^\/v1(?:beta)?\/models$/.test(place));
}

function findKeyError(
  { apiKey }: State,
  { isInteraction }: Route,
  { headers }: RecordedRequest,
): Reply | null {
  const given = headers["x-goog-api-key"];
  if (given === apiKey) return null;
  if (given === undefined) {
    const message = "Method doesn't allow unregistered callers.";
    return isInteraction
      ? flatError(403, "permission_denied", message)
      : grpcError(403, "PERMISSION_DENIED", message);
  }
  const message = "API key not valid. Please pass a valid API key.";
  if (isInteraction) return flatError(401, "authentication", message);
  const details = [
    {
      "@type": "type.googleapis.com/google.rpc.ErrorInfo",
      reason: "API_KEY_INVALID",
      domain: "googleapis.com",
      metadata: { service: "generativelanguage.googleapis.com" },
    },
  ];
  return {
    status: 400,
    body: { error: { code: 400, message, status: "INVALID_ARGUMENT", details } },
  };
}

async function answer(
  state: State,
  route: Route,
  request: RecordedRequest,
): Promise<EmulatorReply> {
  const { verb, name, isInteraction, isKnown } = route;
  if (!isKnown) return grpcError(404, "NOT_FOUND", "There is nothing here.");
  if (verb === "check") return listModels();
  if (verb !== "submit") return answerStored(state, verb, name);
  const body = readBody(request);
  return isInteraction ? interact(state, body) : generate(state, name, body);
}

function readBody({ body }: RecordedRequest): unknown {
  try {
    return JSON.parse(body.toString("utf8")) as unknown;
  } catch {
    return undefined;
  }
}

function listModels(): EmulatorReply {
  const models = [...geminiModels.keys()].map((name) => {
    return { name: `models/${name}`, supportedGenerationMethods: ["generateContent"] };
  });
  return { status: 200, body: { models } };
}

async function generate(state: State, name: string, body: unknown): Promise<EmulatorReply> {
  const model = geminiModels.get(name);
  if (model === undefined) {
    const message = `models/${name} is not found for API version v1beta`;
    return grpcError(404, "NOT_FOUND", message);
  }
  const work = readGenerate(name, body);
  if ("status" in work) return work;
  const objection = await findObjection(work, model);
  if (objection !== null) return grpcError(400, "INVALID_ARGUMENT", objection);
  const made = await make(work, state.behaviour);
  bill(state, work, { route: "generateContent", outputTokens: made.tokens.picture, id: null });
  return { status: 200, body: await presentGenerate(work, made, state.behaviour) };
}

async function interact(state: State, body: unknown): Promise<EmulatorReply> {
  const interaction = readInteraction(body, state.behaviour);
  if ("status" in interaction) return interaction;
  const { work } = interaction;
  const model = geminiModels.get(work.model);
  if (model === undefined) {
    return flatError(404, "model_not_found", `The model ${work.model} is not found`);
  }
  const objection = await findObjection(work, model);
  if (objection !== null) return flatError(400, "invalid_request", objection);
  return begin(state, interaction);
}

async function begin(
  state: State,
  { work, store, background, stream }: Interaction,
): Promise<EmulatorReply> {
  const made = await make(work, state.behaviour);
  const id = store ? `v1_work${(state.idsGiven += 1)}` : null;
  bill(state, work, { route: "interactions", outputTokens: made.tokens.picture, id });
  const completed = presentCompleted(id, work, { made, making: state.behaviour });
  if (id !== null) {
    const polls = background ? 0 : Infinity;
    state.stored.set(id, { model: work.model, polls, isCancelled: false, completed });
  }
  if (background) return { status: 200, body: presentHead(id, work.model, "in_progress") };
  if (!stream) return { status: 200, body: completed };
  const headers = { "content-type": "text/event-stream" };
  return { status: 200, headers, body: Buffer.from(presentEvents(completed, made)) };
}

function answerStored(state: State, verb: GeminiVerb, id: string): EmulatorReply {
  const work = state.stored.get(id);
  if (work === undefined) return flatError(404, "not_found", `Interaction ${id} is not found`);
  const isDone = work.polls >= state.behaviour.pollsUntilDone;
  if (verb === "delete") {
    state.stored.delete(id);
    return { status: 200, body: {} };
  }
  if (verb === "cancel") {
    if (isDone || work.isCancelled) {
      return flatError(400, "failed_precondition", "Only running interactions can be cancelled");
    }
    work.isCancelled = true;
  }
  if (work.isCancelled) return { status: 200, body: presentHead(id, work.model, "cancelled") };
  work.polls += 1;
  if (work.polls >= state.behaviour.pollsUntilDone) return { status: 200, body: work.completed };
  const status = work.polls === 1 ? "queued" : "in_progress";
  return { status: 200, body: presentHead(id, work.model, status) };
}

function bill(
  state: State,
  { model, prompt }: Work,
  call: Omit<BilledCall, "model" | "prompt">,
): void {
  state.billed.push({ ...call, model, prompt });
}

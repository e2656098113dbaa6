/** Vendors that misbehave in one way, with what makes a gateway use them. */
import assert from "node:assert/strict";

import type { JsonObject } from "../../src/lib/json.ts";
import { emulatedBflKey, startBflEmulator } from "../emulators/bfl.ts";
import type { BflChanges } from "../emulators/bfl.ts";
import { emulatedGeminiKey, startGeminiEmulator } from "../emulators/gemini.ts";
import type { GeminiBehaviour } from "../emulators/gemini.ts";
import { emulatedOpenAiKey, startOpenAiEmulator } from "../emulators/openai.ts";
import { startVendorServer } from "../emulators/vendor-server.ts";
import type { Misbehaviour, RecordedRequest } from "../emulators/vendor-server.ts";

export type Troubled = {
  settings: Record<string, string>;
  body: JsonObject;
  requests: readonly RecordedRequest[];
  /** What must hold of the vendor in the end. */
  check?: () => void;
  stop(): Promise<void>;
};

/** A vendor, with the words that name what it does. */
export type Start = { name: string; start(): Promise<Troubled> };

export function openAi(does: string, reply: Misbehaviour): Start {
  const start = async (): Promise<Troubled> => {
    const { baseUrl, requests, set, stop } = await startOpenAiEmulator();
    set({ reply });
    return {
      settings: { OPENAI_API_KEY: emulatedOpenAiKey, OPENAI_BASE_URL: baseUrl },
      body: { model: "gpt-image-2.5-flare", size: "1:1", quality: "low" },
      requests,
      stop,
    };
  };
  return { name: `openai ${does}`, start };
}

export function gemini(does: string, behaviour: GeminiBehaviour): Start {
  const start = async (): Promise<Troubled> => {
    const { origin, requests, set, stop } = await startGeminiEmulator();
    set(behaviour);
    return {
      settings: { GEMINI_API_KEY: emulatedGeminiKey, GEMINI_BASE_URL: origin },
      body: { model: "gemini-2.5-flash-image-preview", size: "1:1" },
      requests,
      stop,
    };
  };
  return { name: `gemini ${does}`, start };
}

export function bfl(does: string, changes: BflChanges): Start {
  const start = async (): Promise<Troubled> => {
    const { origin, requests, set, stop } = await startBflEmulator();
    set({ pollsBeforeEnd: 0, ...changes });
    return {
      settings: { BFL_API_KEY: emulatedBflKey, BFL_BASE_URL: origin },
      body: { model: "flux-2-pro", size: "1:1" },
      requests,
      stop,
    };
  };
  return { name: `bfl ${does}`, start };
}

export async function startForeign(): Promise<Troubled> {
  const foreign = await startVendorServer(() => ({ status: 200, body: {} }));
  const troubled = await bfl("", { pollingOrigin: foreign.origin }).start();
  return {
    ...troubled,
    check: () => assert.deepEqual(foreign.requests, []),
    stop: async () => {
      await troubled.stop();
      await foreign.stop();
    },
  };
}

export function base64(text: string): Misbehaviour {
  const change = (body: unknown): unknown => ({ ...Object(body), data: [{ b64_json: text }] });
  return { kind: "changed", change };
}

export function expired() {
  const body = Buffer.from("<Error><Code>AuthenticationFailed</Code></Error>");
  return { kind: "refuse", reply: { status: 403, body } } as const;
}

export function full() {
  const body = { detail: "Too many active tasks." };
  return { kind: "refuse", reply: { status: 429, body } } as const;
}

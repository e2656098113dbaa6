/** The vendors of the fail-point suite: an emulator each, the channel to it, and what its log says of a task. */
import type { ChannelWish } from "../../src/channels/check.ts";
import type { JsonObject } from "../../src/lib/json.ts";
import { emulatedBflKey, startBflEmulator } from "../emulators/bfl.ts";
import { startComfyuiEmulator } from "../emulators/comfyui.ts";
import { emulatedGeminiKey, startGeminiEmulator } from "../emulators/gemini.ts";
import { emulatedOpenAiKey, startOpenAiEmulator } from "../emulators/openai.ts";
import workflows from "../fixtures/comfyui/workflows.json" with { type: "json" };

/** What the vendor's own log says of the work for one prompt. */
export type VendorLog = {
  /** Requests that ask for work, under different names where the vendor tells them apart. */
  submits: number;
  /** Pictures that were made, and are charged. */
  billed: number;
};

export type Vendor = {
  channel: ChannelWish & { secret: string | null };
  /** One task's request; `n` pictures, where the model makes more than one. */
  body: JsonObject;
  /** True where work may be submitted again under its name. */
  isSafe: boolean;
  /** What is in the log for a prompt that holds the mark. */
  look(mark: string): VendorLog;
  stop(): Promise<void>;
};

export const vendors = {
  bfl: startBfl,
  openai: startOpenAi,
  gemini: startGemini,
  "gemini-interactions": startInteractions,
  comfyui: startComfyui,
} as const satisfies Record<string, () => Promise<Vendor>>;

export type VendorName = keyof typeof vendors;

async function startBfl(): Promise<Vendor> {
  const emulator = await startBflEmulator();
  emulator.set({ pollsBeforeEnd: 0 });
  return {
    channel: { provider: "bfl", baseUrl: emulator.origin, secret: emulatedBflKey },
    body: { model: "flux-2-pro", size: "1:1" },
    isSafe: false,
    look: (mark) => ({
      submits: countRequests(emulator.requests, mark),
      billed: emulator.billed.filter(({ prompt }) => prompt.includes(mark)).length,
    }),
    stop: emulator.stop,
  };
}

async function startOpenAi(): Promise<Vendor> {
  const emulator = await startOpenAiEmulator();
  return {
    channel: { provider: "openai", baseUrl: emulator.baseUrl, secret: emulatedOpenAiKey },
    body: { model: "gpt-image-2.5-flare", size: "1:1", quality: "low" },
    isSafe: false,
    look: (mark) => ({
      submits: countRequests(emulator.requests, mark),
      billed: sum(
        emulator.billed.map(({ prompt, pictures }) => (prompt.includes(mark) ? pictures : 0)),
      ),
    }),
    stop: emulator.stop,
  };
}

async function startGemini(): Promise<Vendor> {
  const emulator = await startGeminiEmulator();
  return {
    channel: { provider: "gemini", baseUrl: emulator.origin, secret: emulatedGeminiKey },
    body: { model: "gemini-2.5-flash-image-preview", size: "1:1" },
    isSafe: false,
    look: (mark) => ({
      submits: countRequests(emulator.requests, mark),
      billed: emulator.billed.filter(({ prompt }) => prompt.includes(mark)).length,
    }),
    stop: emulator.stop,
  };
}

/** Background works: submitted, and asked for by a handle, as at BFL. */
async function startInteractions(): Promise<Vendor> {
  const emulator = await startGeminiEmulator();
  emulator.set({ pollsUntilDone: 1 });
  return {
    channel: {
      provider: "gemini-interactions",
      baseUrl: emulator.origin,
      secret: emulatedGeminiKey,
      settings: { background: true },
    },
    body: { model: "gemini-3.1-flash-lite-image", size: "1:1" },
    isSafe: false,
    look: (mark) => ({
      submits: countRequests(emulator.requests, mark),
      billed: emulator.billed.filter(({ prompt }) => prompt.includes(mark)).length,
    }),
    stop: emulator.stop,
  };
}

async function startComfyui(): Promise<Vendor> {
  const emulator = await startComfyuiEmulator();
  emulator.set({ looksBeforeEnd: 0 });
  return {
    channel: {
      provider: "comfyui",
      baseUrl: emulator.origin,
      secret: null,
      models: [{ model: "flux-2-pro", upstreamModel: "flux1-dev.safetensors" }],
      settings: { workflows },
    },
    body: { model: "flux-2-pro", size: "1:1" },
    isSafe: true,
    look: (mark) => {
      const bodies = emulator.requests
        .map(({ path, body }) => (path === "/prompt" ? body.toString() : ""))
        .filter((body) => body.includes(mark));
      return {
        submits: new Set(bodies.map((body) => /"prompt_id":"([^"]+)"/.exec(body)?.[1])).size,
        billed: emulator.works.filter(({ graph }) => JSON.stringify(graph).includes(mark)).length,
      };
    },
    stop: emulator.stop,
  };
}

function countRequests(requests: readonly { body: Buffer }[], mark: string): number {
  return requests.filter(({ body }) => body.includes(mark)).length;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

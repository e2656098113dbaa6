/** The adapter of Gemini's interactions beside the emulator, and what its answers come to. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";

import { ProviderError } from "../../src/providers/adapter.ts";
import type { Job, Step } from "../../src/providers/adapter.ts";
import { createGeminiInteractions } from "../../src/providers/gemini-interactions.ts";
import { callAt, startMs } from "../contracts/adapter-driver.ts";
import { emulatedGeminiKey, startGeminiEmulator } from "../emulators/gemini.ts";
import type { GeminiTrouble } from "../emulators/gemini.ts";
import { catJob, createTestSend } from "./adapters.ts";

export async function setUpInteractions(t: TestContext, background = false) {
  const emulator = await startGeminiEmulator();
  const { send, close } = createTestSend();
  t.after(async () => {
    await close();
    await emulator.stop();
  });
  const settings = { baseUrl: emulator.origin, apiKey: emulatedGeminiKey, background };
  const adapter = createGeminiInteractions(settings, { send });
  return {
    adapter,
    emulator,
    lastBody: () => JSON.parse(emulator.requests.at(-1)!.body.toString()),
    /** What the adapter makes of this body as the answer to a submit. */
    answered: (body: unknown): Promise<Step> => {
      const reply = { status: 200, body };
      emulator.set({ trouble: { submit: { kind: "refusal", reply } } });
      return adapter.submit(liteJob({}), callAt(startMs, "att_1"));
    },
    /** What a poll for work under way comes to when it meets this trouble. */
    polled: async (trouble: GeminiTrouble): Promise<Step> => {
      emulator.set({ trouble: {}, pollsUntilDone: 1 });
      const call = callAt(startMs, "att_1");
      const first = await adapter.submit(liteJob({}), call);
      assert.ok(first.status === "running");
      emulator.set({ trouble: { poll: trouble } });
      return adapter.poll!(liteJob({}), first.handle, call);
    },
  };
}

export function liteJob(wishes: Partial<Job>): Job {
  const model = "gemini-3.1-flash-lite-image";
  return catJob({ model, upstreamModel: model, format: "jpeg", ...wishes });
}

/** The failure that was thrown, or that was told of the picture. */
export async function failureOf(pending: Promise<Step>): Promise<ProviderError> {
  try {
    const step = await pending;
    assert.ok(step.status === "done");
    const [picture] = step.pictures;
    assert.ok(picture?.kind === "failed");
    return picture.failure;
  } catch (error) {
    if (error instanceof ProviderError) return error;
    throw error;
  }
}

/** The adapter of OpenAI beside its emulator, and pictures to send as references. */
import type { TestContext } from "node:test";

import type { Adapter, Job, Step } from "../../src/providers/adapter.ts";
import { createOpenAi } from "../../src/providers/openai.ts";
import { callAt, startMs } from "../contracts/adapter-driver.ts";
import { emulatedOpenAiKey, startOpenAiEmulator } from "../emulators/openai.ts";
import type { OpenAiEmulator } from "../emulators/openai.ts";
import { catJob, createTestSend } from "./adapters.ts";
import { colours, paintPlain } from "./pictures.ts";

export const png = await paintPlain({ colour: colours.red, width: 64, height: 64, format: "png" });
export const jpeg = await paintPlain({
  colour: colours.blue,
  width: 64,
  height: 64,
  format: "jpeg",
});

type Body = { data: Record<string, unknown>[] };

export async function setUpOpenAi(context: TestContext) {
  const emulator: OpenAiEmulator = await startOpenAiEmulator();
  const { send, close } = createTestSend();
  context.after(async () => {
    await close();
    await emulator.stop();
  });
  const settings = { baseUrl: emulator.baseUrl, apiKey: emulatedOpenAiKey };
  const adapter: Adapter = createOpenAi(settings, { send });
  /** Submits a job whose reply is changed on its way. */
  const submitChanged = (
    change: (body: Body) => unknown,
    slots: Job["slots"] = [0],
  ): Promise<Step> => {
    emulator.set({ reply: { kind: "changed", change: (body) => change(body as Body) } });
    return adapter.submit(catJob({ slots }), callAt(startMs, "att_1"));
  };
  return { emulator, adapter, send, submitChanged };
}

/** Replies of two gigabytes, to a server in a process of its own whose memory can be read. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { emulatedBflKey, startBflEmulator } from "../emulators/bfl.ts";
import { emulatedGeminiKey, startGeminiEmulator } from "../emulators/gemini.ts";
import { emulatedOpenAiKey, startOpenAiEmulator } from "../emulators/openai.ts";
import { createClient } from "../support/client.ts";
import type { Client } from "../support/client.ts";
import { runJson, startServer } from "../support/gateway-process.ts";

const huge = { kind: "huge", bytes: 2 * 2 ** 30 } as const;
const mebibyte = 2 ** 20;

const bodies = {
  openai: { model: "gpt-image-2.5-flare", size: "1:1", quality: "low" },
  gemini: { model: "gemini-2.5-flash-image-preview", size: "1:1" },
  bfl: { model: "flux-2-pro", size: "1:1" },
} as const;

test(
  "replies of two gigabytes end their tasks, are hung up on, and leave the memory flat",
  { skip: process.platform === "linux" ? false : "the system does not tell of memory" },
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "darkroom-huge-"));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const openAi = await startOpenAiEmulator();
    t.after(openAi.stop);
    const gemini = await startGeminiEmulator();
    t.after(gemini.stop);
    const bfl = await startBflEmulator();
    t.after(bfl.stop);
    bfl.set({ pollsBeforeEnd: 0 });
    const server = await startServer(folder, {
      OPENAI_API_KEY: emulatedOpenAiKey,
      OPENAI_BASE_URL: openAi.baseUrl,
      GEMINI_API_KEY: emulatedGeminiKey,
      GEMINI_BASE_URL: gemini.origin,
      BFL_API_KEY: emulatedBflKey,
      BFL_BASE_URL: bfl.origin,
      DARKROOM_LOG_LEVEL: "error",
    });
    t.after(() => server.kill("SIGKILL"));
    await server.printed(/A sample picture/);
    const caller = createClient(server.origin, await makeLiveKey(folder));
    // What a picture takes at all is not what this is about.
    for (const body of Object.values(bodies)) assert.equal(await endOf(caller, body), "completed");
    const before = await readPeak(server.pid);

    openAi.set({ reply: huge });
    gemini.set({ trouble: { submit: huge } });
    bfl.set({ poll: [huge] });
    const ends = await Promise.all(Object.values(bodies).map((body) => endOf(caller, body)));
    assert.deepEqual(ends, ["outcome_unknown", "outcome_unknown", "outcome_unknown"]);
    bfl.set({ poll: null, sample: huge });
    assert.equal(await endOf(caller, bodies.bfl), "no_image");

    const grownMiB = Math.round((await readPeak(server.pid)) - before) / mebibyte;
    t.diagnostic(`the peak grew by ${grownMiB.toFixed(0)} MiB`);
    // Two replies are read up to their bound of 64 MiB.
    assert.ok(grownMiB < 256, `the peak grew by ${grownMiB} MiB`);
    for (const { bytesSent } of [openAi, gemini]) {
      assert.ok(bytesSent < 160 * mebibyte, `${bytesSent} bytes were sent before anybody hung up`);
    }
    server.kill("SIGTERM");
    assert.equal(await server.ended, 0);
    const doctor = await runJson<{ ledger: { ok: boolean } }>(folder, ["doctor"]);
    assert.equal(doctor.ledger.ok, true);
  },
);

/** `completed`, or the code of the task's error. */
async function endOf(caller: Client, body: object): Promise<string> {
  const { status, error } = await caller.run({ ...body, prompt: "A harbour" });
  return error?.code ?? status;
}

async function makeLiveKey(folder: string): Promise<string> {
  await runJson(folder, ["accounts", "credit", "default", "10", "--note", "funds"]);
  const words = ["keys", "create", "--account", "default", "--mode", "live", "--name", "faults"];
  return (await runJson<{ key: string }>(folder, words)).key;
}

/** The most that a process has had in memory so far, in bytes. */
async function readPeak(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const [, kibibytes] = /VmHWM:\s+(\d+) kB/.exec(status) ?? [];
  return Number(kibibytes) * 1_024;
}

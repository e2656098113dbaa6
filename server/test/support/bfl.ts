/** The adapter of Black Forest Labs beside its emulator, and what its answers come to. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";

import type { Adapter, Job, Step } from "../../src/providers/adapter.ts";
import { createBfl } from "../../src/providers/bfl.ts";
import { emulatedBflKey, startBflEmulator } from "../emulators/bfl.ts";
import type { BflOptions } from "../emulators/bfl.ts";
import type { Fault } from "../emulators/fault-plan.ts";
import { catJob, createTestSend } from "./adapters.ts";

export const fluxJob = (wishes: Partial<Job> = {}): Job =>
  catJob({
    model: "flux-2-pro",
    upstreamModel: "flux-2-pro",
    parameters: { size: "1:1", resolution: "1K" },
    width: 1_440,
    height: 1_440,
    ...wishes,
  });

export async function setUpBfl(context: TestContext, options: BflOptions = {}) {
  const emulator = await startBflEmulator(options);
  const { send, close } = createTestSend();
  context.after(async () => {
    await close();
    await emulator.stop();
  });
  const settings = { baseUrl: emulator.origin, apiKey: emulatedBflKey };
  const adapter: Adapter = createBfl(settings, { send });
  return { adapter, emulator, send };
}

type FixtureReply = {
  status: number;
  body: unknown;
  headers?: Record<string, string | undefined> | undefined;
};

export function refusalOf({ status, body, headers = {} }: FixtureReply): Fault {
  const given = Object.entries(headers).filter(([, value]) => value !== undefined);
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  const reply = {
    status,
    body: bytes,
    headers: Object.fromEntries(given) as Record<string, string>,
  };
  return { kind: "refuse", reply };
}

export function urlOf(step: Step): string {
  assert.ok(step.status === "done");
  const [picture] = step.pictures;
  assert.ok(picture?.kind === "url");
  assert.equal(picture.headers, undefined);
  return picture.url;
}

export async function download(step: Step): Promise<Buffer> {
  const reply = await fetch(urlOf(step));
  assert.equal(reply.status, 200);
  return Buffer.from(await reply.arrayBuffer());
}

/** References that a caller of a gateway names, and what becomes of tasks that have them. */
import assert from "node:assert/strict";
import { after } from "node:test";

import type { Task } from "../../../client/src/tasks.ts";
import { startGateway } from "./app.ts";
import type { Gateway } from "./app.ts";
import type { Client } from "./client.ts";
import { startReferenceServer } from "./reference-server.ts";
import type { ReferenceServer } from "./reference-server.ts";

export const gemini = { model: "gemini-2.5-flash-image-preview", prompt: "A red fox", size: "1:1" };
export const gpt = { model: "gpt-image-1-official", prompt: "A red fox", quality: "low" };

export type Referring = { gateway: Gateway; client: Client; server: ReferenceServer };

/** A gateway, a caller of it, and the server of the caller's references, for the tests of one file. */
export async function startReferring(settings?: Record<string, string>): Promise<Referring> {
  const gateway = await startGateway(settings);
  after(() => gateway.stop());
  const server = await startReferenceServer();
  after(() => server.stop());
  return { gateway, client: await gateway.connect(), server };
}

export function assertFailed(task: Task, code: string, param: string, name = ""): void {
  const { status, cost, error } = task;
  assert.deepEqual([status, cost, error?.code, error?.param], ["failed", 0, code, param], name);
}

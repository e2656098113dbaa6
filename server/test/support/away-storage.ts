/** An engine whose storage, a real S3 server, is away, and what is to become of the pictures it has finished. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import type { TestContext } from "node:test";

import { sumWaste } from "../../src/billing/costs.ts";
import { must } from "../../src/lib/errors.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { systemClock } from "../../src/lib/time.ts";
import { findS3Target } from "../../src/storage/s3-target.ts";
import { createS3Storage } from "../../src/storage/s3.ts";
import type { EngineOptions } from "./engine-deps.ts";
import type { OpenEngine, TestEngine } from "./engine.ts";
import { startS3Server } from "./s3-server.ts";
import type { S3Fault } from "./s3-server.ts";
import { picture } from "./vendor.ts";

const checkKey = "darkroom-check";

/** An engine with its pictures in a bucket, which is away until it is told to come back. */
export async function openAway(t: TestContext, open: OpenEngine, options: EngineOptions = {}) {
  const server = await startS3Server(t);
  const setting = `s3://${server.bucket}?endpoint=${server.endpoint}`;
  const storage = createS3Storage({
    target: must(findS3Target(setting), setting),
    credentials: server.credentials,
    clock: systemClock,
    random: systemRandom,
    retryPauseMs: 1,
  });
  t.after(() => storage.close());
  const refusal: S3Fault = { kind: "refuse", status: 503, code: "SlowDown" };
  server.fault.choose = () => refusal;
  const engine = await open({ ...options, storage });
  return {
    engine,
    comeBack: () => {
      server.fault.choose = () => null;
    },
    /** Takes so many pictures, and every check. */
    takeOnly: (count: number) => {
      let left = count;
      server.fault.choose = (request) => {
        if (!isPut(request) || left === 0) return isPut(request) ? refusal : null;
        left -= 1;
        return null;
      };
    },
    /** Requests that bring a picture, tries that were refused included. */
    puts: () => server.requests.filter(isPut).length,
    checks: () => server.requests.filter((one) => one.includes(checkKey)).length,
    listObjects: async () => (await server.listKeys()).filter((key) => key !== checkKey),
    countWaiting: () => countFiles(engine.spoolFolder),
  };
}

function isPut(request: string): boolean {
  return request.startsWith("PUT ") && !request.includes(checkKey);
}

export async function countFiles(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile() && !entry.name.includes(".lock")).length;
}

export async function assertCompleted(engine: TestEngine, id: string, pictures = 1): Promise<void> {
  const task = await engine.read(id);
  assert.equal(task.status, "completed", JSON.stringify(task.error));
  assert.equal(task.result?.images.length, pictures);
  assert.equal((await engine.balance()).held, 0);
  await engine.checkLedger();
}

/** Failed, uncharged, and what it may have cost us is in the waste. */
export async function assertWasted(engine: TestEngine, id: string, code: string): Promise<void> {
  const task = await engine.read(id);
  assert.deepEqual([task.status, task.error?.code, task.cost], ["failed", code, 0]);
  assert.deepEqual(await engine.balance(), { available: 100_000_000, held: 0 });
  const waste = await sumWaste(engine.db.read, 0);
  assert.equal(waste.attempts, 1);
  assert.ok(waste.amount > 0);
  await engine.checkLedger();
}

export const tinyBytes = Buffer.from((picture() as { bytes: Uint8Array }).bytes);

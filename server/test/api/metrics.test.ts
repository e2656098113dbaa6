/** The numbers that an operator watches, of a whole gateway. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { createApp } from "../../src/app.ts";
import { parseConfig } from "../../src/config.ts";
import { openInstallation } from "../../src/installation.ts";
import { startGateway, testEnvironment } from "../support/app.ts";

/** Value of each sample, by its name with its labels. */
async function readSamples(origin: string): Promise<Map<string, number>> {
  const reply = await fetch(`${origin}/metrics`);
  assert.equal(reply.status, 200);
  const lines = (await reply.text()).trimEnd().split("\n");
  const samples = lines.filter((line) => !line.startsWith("#"));
  for (const line of samples) assert.match(line, /^[a-z_]+(\{[^{}]+\})? -?[\d.e+-]+$/);
  return new Map(
    samples.map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

test("the numbers tell of what waits, what is under way, how attempts ended, and nothing of an account", async (t) => {
  const gateway = await startGateway();
  t.after(() => gateway.stop());
  const client = await gateway.connect();
  const body = { model: "flux-2-pro", prompt: "fox" };
  await client.run({ ...body, webhook: "http://127.0.0.1:9/" });
  const { id } = await client.accept({ ...body, prompt: "fox [[slow:60s]]" });
  let samples = await readSamples(gateway.origin);
  for (let look = 0; look < 100 && samples.get("darkroom_tasks_in_hand") !== 1; look += 1) {
    samples = await readSamples(gateway.origin);
  }
  assert.equal(samples.get("darkroom_tasks_in_hand"), 1);
  const lane = 'lane="test:flux-2-pro"';
  assert.equal(samples.get(`darkroom_tasks{${lane},state="in_flight"}`), 1);
  assert.equal(samples.get(`darkroom_tasks{${lane},state="waiting"}`), 0);
  assert.equal(
    samples.get('darkroom_attempts_total{channel="sandbox",outcome="answered"}'),
    1,
    JSON.stringify([...samples]),
  );
  const deliveries = ["due", "later"].map(
    (state) => samples.get(`darkroom_deliveries{state="${state}"}`) ?? Number.NaN,
  );
  assert.equal(deliveries[0]! + deliveries[1]!, 1);
  assert.ok((samples.get("process_resident_memory_bytes") ?? 0) > 1e7);
  assert.ok((samples.get("darkroom_event_loop_delay_seconds") ?? -1) >= 0);
  assert.equal(samples.get("darkroom_database_up"), 1);
  assert.doesNotMatch(JSON.stringify([...samples.keys()]), /acc_|key_|task_0/);
  await client.request("POST", `/v1/tasks/${id}/cancel`);
});

test("a worker, which answers no caller, tells its numbers too", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-worker-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const config = parseConfig(testEnvironment(folder, { DARKROOM_LOG_LEVEL: "silent" }));
  const installation = await openInstallation(config);
  const app = createApp(installation, "worker");
  const origin = await app.start();
  try {
    assert.equal((await fetch(`${origin}/v1/models`)).status, 404);
    const samples = await readSamples(origin);
    assert.equal(samples.get("darkroom_tasks_in_hand"), 0);
    assert.equal(samples.get("darkroom_database_up"), 1);
  } finally {
    await app.stop();
  }
});

/** A server that is killed at any moment keeps every promise it has made. `npm run crash` runs longer. */
import assert from "node:assert/strict";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { systemClock } from "../../src/lib/time.ts";
import { runCrashes } from "./crash.ts";
import { createDice } from "./dice.ts";
import { findFreePort, placeOf, runOperator, startServer } from "./server-process.ts";

/** Another one every time; `DARKROOM_TEST_SEED` repeats the choices of a run that failed. */
const seed = Number(process.env["DARKROOM_TEST_SEED"] ?? systemClock.now() % 1_000_000);

test("a server that is killed twenty times under load loses no accepted task, finishes none twice, and its books are in order", async (t) => {
  const log = (line: string): void => t.diagnostic(line);
  const { problems, facts } = await runCrashes({ kills: 20, seed, log });
  t.diagnostic(JSON.stringify(facts));
  assert.deepEqual(problems, [], `DARKROOM_TEST_SEED=${seed}`);
  // A run in which nothing happened proves nothing.
  assert.ok(Number(facts["acknowledged"]) > 50, JSON.stringify(facts));
  assert.ok(Number(facts["lost"]) > 50, JSON.stringify(facts));
});

test("a first start that is killed again and again ends in a server that works", async (t) => {
  const root = await realpath(await mkdtemp(join(tmpdir(), "darkroom-first-")));
  t.after(() => rm(root, { recursive: true, force: true }));
  const dice = createDice(seed);
  const settings = { folder: join(root, "data"), port: await findFreePort() };
  for (let life = 0; life < 6; life += 1) {
    const server = await startServer({ ...settings, place: placeOf(root, life) });
    const afterMs = dice.between(100, 1_500);
    t.diagnostic(`killed ${afterMs} ms after its start`);
    await systemClock.sleep(afterMs);
    server.signal("SIGKILL");
    await server.ended;
  }
  const server = await startServer({ ...settings, place: placeOf(root, 6) });
  t.after(() => server.signal("SIGKILL"));
  assert.notEqual(await server.ready, null, server.errors());
  const told = (await runOperator(settings.folder, ["doctor"])) as { ok: boolean };
  assert.equal(told.ok, true, JSON.stringify(told));
  const listed = (await runOperator(settings.folder, ["accounts", "list"])) as object;
  assert.match(JSON.stringify(listed), /"default"/);
  server.signal("SIGTERM");
  assert.deepEqual(await server.ended, { code: 0, signal: null }, server.errors());
});

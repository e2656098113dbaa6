import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import { createTestServer } from "../../test/support/http.ts";
import type { TestServer } from "../../test/support/http.ts";
import { secondMs } from "../lib/time.ts";
import { registerHealth } from "./health.ts";
import type { HealthDeps } from "./health.ts";

function setup(t: TestContext, deps: Partial<HealthDeps> = {}): TestServer {
  const server = createTestServer(t);
  registerHealth(server.app, {
    clock: server.clock,
    log: server.log,
    version: "0.1.0",
    isDraining: () => false,
    readinessChecks: {},
    reportedChecks: {},
    ...deps,
  });
  return server;
}

const hangs = (): Promise<void> => new Promise(() => undefined);
const works = (): Promise<void> => Promise.resolve();
const fails = (): Promise<void> => Promise.reject(new Error("no space left"));

test("a server whose parts work is ready, and needs no key to say so", async (t) => {
  const { app } = setup(t, {
    readinessChecks: { database: works },
    reportedChecks: { storage: works },
  });
  const reply = await app.inject({ url: "/readyz" });
  assert.equal(reply.statusCode, 200);
  assert.deepEqual(reply.json(), {
    status: "ready",
    checks: { database: "ok", storage: "ok", accepting: "ok" },
  });
});

test("one failed part makes it unready, and only the log says why", async (t) => {
  const { app, logged } = setup(t, { readinessChecks: { database: fails } });
  const reply = await app.inject({ url: "/readyz" });
  assert.equal(reply.statusCode, 503);
  assert.deepEqual(reply.json(), {
    status: "unavailable",
    checks: { database: "failed", accepting: "ok" },
  });
  assert.equal(reply.body.includes("space"), false);
  assert.match(logged[0]!, /no space left/);
});

test("a failed part that is only reported is told and logged, and the server stays ready", async (t) => {
  const { app, logged } = setup(t, {
    readinessChecks: { database: works },
    reportedChecks: { storage: fails },
  });
  const reply = await app.inject({ url: "/readyz" });
  assert.equal(reply.statusCode, 200);
  assert.deepEqual(reply.json(), {
    status: "ready",
    checks: { database: "ok", storage: "failed", accepting: "ok" },
  });
  assert.match(logged[0]!, /no space left/);
});

test("a server that is stopping is unready and still alive", async (t) => {
  const { app } = setup(t, { isDraining: () => true });
  assert.equal((await app.inject({ url: "/readyz" })).statusCode, 503);
  const alive = await app.inject({ url: "/healthz" });
  assert.equal(alive.statusCode, 200);
  assert.deepEqual(alive.json(), { status: "ok" });
});

test("a check that hangs has failed after two seconds", async (t) => {
  const { app, clock } = setup(t, { readinessChecks: { database: hangs } });
  const asked = app.inject({ url: "/readyz" });
  await clock.untilWaiting(1);
  await clock.advance(2 * secondMs);
  assert.equal((await asked).json().checks.database, "failed");
});

test("many who ask at once cost one check, and a second later there is another", async (t) => {
  let checked = 0;
  const counts = async (): Promise<void> => {
    checked += 1;
  };
  const { app, clock } = setup(t, { readinessChecks: { storage: counts } });
  await Promise.all(Array.from({ length: 50 }, () => app.inject({ url: "/readyz" })));
  assert.equal(checked, 1);
  await clock.advance(secondMs);
  await app.inject({ url: "/readyz" });
  assert.equal(checked, 2);
});

test("the root says what this is", async (t) => {
  const reply = await setup(t).app.inject({ url: "/" });
  assert.equal(reply.statusCode, 200);
  assert.equal(reply.json().name, "Darkroom");
  assert.equal(reply.json().version, "0.1.0");
});

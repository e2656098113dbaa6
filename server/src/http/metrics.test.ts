import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import { createTestServer } from "../../test/support/http.ts";
import { hide } from "../lib/secrets.ts";
import { registerMetrics, renderMetrics } from "./metrics.ts";
import type { Metric } from "./metrics.ts";

const metric: Metric = {
  name: "darkroom_tasks",
  help: "Open tasks.",
  type: "gauge",
  samples: [{ value: 1.5 }, { labels: { lane: "live:a", state: 'x"\\\n' }, value: 2 }],
};

function setup(t: TestContext, token: string | null) {
  const { app } = createTestServer(t);
  registerMetrics(app, {
    readMetrics: () => Promise.resolve([metric]),
    metricsToken: token === null ? null : hide(token),
  });
  return (headers: Record<string, string> = {}, remoteAddress = "127.0.0.1") =>
    app.inject({ url: "/metrics", headers, remoteAddress });
}

test("numbers are written as Prometheus reads them, with what stands in a label escaped", () => {
  assert.equal(
    renderMetrics([metric]),
    [
      "# HELP darkroom_tasks Open tasks.",
      "# TYPE darkroom_tasks gauge",
      "darkroom_tasks 1.5",
      'darkroom_tasks{lane="live:a",state="x\\"\\\\\\n"} 2',
      "",
    ].join("\n"),
  );
});

test("without a token the numbers are for this machine, and not for whom a proxy of it speaks", async (t) => {
  const ask = setup(t, null);
  for (const address of ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"]) {
    const reply = await ask({}, address);
    assert.equal(reply.statusCode, 200, address);
    assert.match(String(reply.headers["content-type"]), /^text\/plain; version=0\.0\.4/);
  }
  for (const address of ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "192.0.2.127"]) {
    assert.equal((await ask({}, address)).statusCode, 403, address);
  }
  const forwarded = await ask({ "x-forwarded-for": "192.0.2.1" });
  assert.equal(forwarded.json().error.reason, "ip_not_allowed");
});

test("with a token it opens the numbers to anybody who sends it, and to nobody else", async (t) => {
  const ask = setup(t, "watch-me");
  const right = { authorization: "Bearer watch-me" };
  assert.equal((await ask(right, "192.0.2.1")).statusCode, 200);
  assert.equal((await ask({ ...right, "x-forwarded-for": "192.0.2.1" })).statusCode, 200);
  for (const authorization of ["", "Bearer watch-m", "Bearer watch-you", "watch-me"]) {
    assert.equal((await ask({ authorization })).statusCode, 401, authorization);
  }
  assert.equal((await ask()).statusCode, 401);
});

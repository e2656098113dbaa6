import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import type { UsageReply } from "../../../client/src/usage.ts";
import { bearer, createTestServer, liveToken } from "../../test/support/http.ts";
import { createRequestLimits } from "../accounts/limits.ts";
import type { UsageReport, UsageRequest } from "../billing/usage-report.ts";
import { minuteMs } from "../lib/time.ts";
import { registerUsage } from "./usage.ts";

const figures = { amount: 38_700, requests: 2, inputTokens: 5, outputTokens: 7 };
const shown = {
  amount_usd: 0.0387,
  credits: 0.387,
  requests: 2,
  prompt_tokens: 5,
  completion_tokens: 7,
};

function setup(t: TestContext, answer?: () => UsageReport) {
  const server = createTestServer(t);
  const asked: UsageRequest[] = [];
  registerUsage(server.app, {
    auth: server.auth,
    clock: server.clock,
    requestLimits: createRequestLimits({ clock: server.clock, liveApiNodes: () => 1 }),
    timeZone: "Asia/Tokyo",
    reportUsage: async (request) => {
      asked.push(request);
      return (
        answer?.() ?? { total: figures, groups: [{ date: "2026-01-01", model: "m", ...figures }] }
      );
    },
  });
  const ask = async (query = "", headers: Record<string, string> = bearer, path = "/v1/usage") => {
    const reply = await server.app.inject({ url: `${path}${query}`, headers });
    const { statusCode: status } = reply;
    return { status, cache: reply.headers["x-usage-cache"], headers: reply.headers, reply };
  };
  return { ...server, asked, ask };
}

test("a report is answered in USD and credits, under both addresses, with what it was made by", async (t) => {
  const { ask, asked } = setup(t);
  const query =
    "?start=1767225500&end=2026-01-01T00:00:00Z&group_by=model,date&scope=account&tz=UTC&model=B,a";
  for (const path of ["/v1/usage", "/usage"]) {
    const { reply, headers } = await ask(query, { ...bearer, origin: "https://a.example" }, path);
    assert.equal(headers["access-control-allow-origin"], "*");
    assert.deepEqual(reply.json(), {
      success: true,
      data: {
        start: 1_767_225_500,
        end: 1_767_225_600,
        tz: "UTC",
        scope: "account",
        group_by: "model,date",
        total: shown,
        items: [{ date: "2026-01-01", model: "m", ...shown }],
      },
    });
  }
  assert.deepEqual(asked, [
    {
      accountId: "acc_1",
      mode: "test",
      keyId: null,
      start: 1_767_225_500_000,
      end: 1_767_225_600_000,
      models: new Set(["a", "b"]),
      groupBy: { model: true, date: true },
      timeZone: "UTC",
    },
  ]);
});

test("without parameters it is the last day of the calling key, in the zone of the setting", async (t) => {
  const { ask, asked, clock } = setup(t);
  const { reply } = await ask();
  const { data } = reply.json<UsageReply>();
  assert.deepEqual([data.scope, data.group_by, data.tz], ["key", "none", "Asia/Tokyo"]);
  assert.equal(data.end - data.start, 86_400);
  assert.deepEqual([asked[0]?.keyId, asked[0]?.end], ["key_1", clock.now()]);
});

test("a report is kept for a minute, for the same question of the same asker", async (t) => {
  const { ask, asked, clock } = setup(t);
  assert.equal((await ask()).cache, "miss");
  await clock.advance(minuteMs - 1);
  assert.equal((await ask()).cache, "hit");
  assert.equal((await ask("?scope=account")).cache, "miss");
  assert.equal((await ask("", { authorization: `Bearer ${liveToken}` })).cache, "miss");
  await clock.advance(1);
  assert.equal((await ask()).cache, "miss");
  assert.equal(asked.length, 4);
});

test("each parameter that cannot be used has a reason of its own, and is named", async (t) => {
  const { ask } = setup(t);
  const cases: [string, string, string][] = [
    ["?start=yesterday", "invalid_start", "start"],
    ["?end=2026-02-31T00:00:00Z", "invalid_end", "end"],
    ["?end=1&end=2", "invalid_end", "end"],
    ["?start=1767225600", "invalid_range", "start"],
    ["?start=1767225600&end=1767225500", "invalid_range", "start"],
    ["?start=1764547199&end=1767225600", "range_too_large", "start"],
    ["?tz=Mars/Olympus", "invalid_tz", "tz"],
    ["?group_by=key", "invalid_group_by", "group_by"],
    ["?scope=world", "invalid_scope", "scope"],
    [
      `?model=${Array.from({ length: 51 }, (_, i) => `m${i}`).join(",")}`,
      "too_many_models",
      "model",
    ],
  ];
  for (const [query, reason, param] of cases) {
    const { status, reply } = await ask(query);
    const { error } = reply.json();
    assert.deepEqual([status, error.reason, error.param], [400, reason, param], query);
  }
  assert.equal((await ask("?start=1764547200&end=1767225600")).status, 200);
});

test("a report that cannot be made is a 503 and never a zero, and the failure is not kept", async (t) => {
  let isBroken = true;
  const { ask } = setup(t, () => {
    if (isBroken) throw new Error("the database is away");
    return { total: figures, groups: [] };
  });
  const { status, reply, headers } = await ask();
  const { error } = reply.json();
  assert.deepEqual([status, error.reason], [503, "usage_unavailable"]);
  assert.doesNotMatch(error.message, /database/);
  assert.equal(headers["retry-after"], "5");
  isBroken = false;
  assert.equal((await ask()).status, 200);
});

test("a key asks for sixty reports a minute", async (t) => {
  const { ask } = setup(t);
  for (let i = 0; i < 60; i++) assert.equal((await ask()).status, 200);
  const { status, headers, reply } = await ask();
  assert.deepEqual([status, reply.json().error.reason], [429, "rate_limited"]);
  assert.equal(headers["retry-after"], "1");
  assert.equal((await ask("", { authorization: `Bearer ${liveToken}` })).status, 200);
});

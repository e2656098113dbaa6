import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import type { FastifyInstance } from "fastify";

import { bearer, createTestServer, testToken } from "../../test/support/http.ts";
import type { TestServer, TestServerOptions } from "../../test/support/http.ts";
import { parseIpList } from "../accounts/ip-list.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import { callerOf } from "./request.ts";

function setup(t: TestContext, options: TestServerOptions = {}): TestServer {
  const server = createTestServer(t, options);
  const { identify, limit } = server.auth;
  server.app.get("/v1/me", { onRequest: [identify, limit] }, (request) => callerOf(request));
  return server;
}

async function ask(app: FastifyInstance, authorization?: string) {
  const headers = authorization === undefined ? {} : { authorization };
  const reply = await app.inject({ url: "/v1/me", headers });
  return { status: reply.statusCode, headers: reply.headers, body: reply.json() };
}

test("a known key names its caller, whatever the letter case of the scheme", async (t) => {
  const { app } = setup(t);
  for (const scheme of ["Bearer", "bearer", "BEARER  "]) {
    const { status, body } = await ask(app, `${scheme} ${testToken}`);
    assert.equal(status, 200);
    assert.equal(body.keyId, "key_1");
  }
});

test("without a valid key the answer is 401 and names where keys are made", async (t) => {
  const { app } = setup(t);
  const cases: Record<string, string | undefined> = {
    "header Authorization is missing": undefined,
    'header Authorization is not of the form "Bearer sk-…"': "Basic dXNlcjpwYXNz",
    "the API key is unknown, revoked or expired": "Bearer sk-live-unknown",
  };
  for (const [text, authorization] of Object.entries(cases)) {
    const { status, headers, body } = await ask(app, authorization);
    assert.equal(status, 401);
    assert.equal(body.error.reason, "invalid_api_key");
    assert.equal(body.error.type, "authentication_error");
    assert.equal(headers["www-authenticate"], "Bearer");
    assert.ok(body.error.message.startsWith(text), body.error.message);
    assert.match(body.error.message, /node server\/src\/main\.ts keys create/);
  }
});

test("what cannot be a key is refused: none, two, a key with spaces, one too long", async (t) => {
  const { app } = setup(t);
  for (const authorization of [
    "Bearer",
    "Bearer ",
    `Bearer ${testToken} ${testToken}`,
    `Bearer ${testToken}, Bearer ${testToken}`,
    `Bearer ${"x".repeat(300)}`,
    testToken,
  ]) {
    assert.equal((await ask(app, authorization)).status, 401, authorization);
  }
});

test("the refusal of a key never repeats the key", async (t) => {
  const { app } = setup(t);
  const secret = `sk-live-${"z".repeat(43)}`;
  assert.equal(JSON.stringify(await ask(app, `Bearer ${secret}`)).includes(secret), false);
});

test("a key with a list of addresses works from those only", async (t) => {
  const inside = setup(t, { key: { ips: parseIpList(["127.0.0.0/8"]) } });
  assert.equal((await ask(inside.app, bearer.authorization)).status, 200);
  const outside = setup(t, { key: { ips: parseIpList(["203.0.113.7"]) } });
  const { status, body } = await ask(outside.app, bearer.authorization);
  assert.equal(status, 403);
  assert.equal(body.error.reason, "ip_not_allowed");
  assert.match(body.error.message, /127\.0\.0\.1/);
});

test("a forwarded address is not believed", async (t) => {
  const { app } = setup(t, { key: { ips: parseIpList(["203.0.113.7"]) } });
  const headers = { ...bearer, "x-forwarded-for": "203.0.113.7" };
  assert.equal((await app.inject({ url: "/v1/me", headers })).statusCode, 403);
});

test("what a trusted proxy says is the caller's address, and nothing that came to it so", async (t) => {
  const { app } = setup(t, {
    key: { ips: parseIpList(["203.0.113.7"]) },
    trustedProxies: ["127.0.0.0/8"],
  });
  const statusOf = async (forwarded: string) => {
    const headers = { ...bearer, "x-forwarded-for": forwarded };
    return (await app.inject({ url: "/v1/me", headers })).statusCode;
  };
  assert.equal(await statusOf("203.0.113.7"), 200);
  // The proxy adds the address that it sees behind what the caller has sent.
  assert.equal(await statusOf("203.0.113.7, 198.51.100.2"), 403);
});

test("a key with a limit gets 429 with the seconds to wait, and works again after them", async (t) => {
  const { app, clock } = setup(t, { key: { requestsPerMinute: 2 } });
  assert.equal((await ask(app, bearer.authorization)).status, 200);
  assert.equal((await ask(app, bearer.authorization)).status, 200);
  const { status, headers, body } = await ask(app, bearer.authorization);
  assert.equal(status, 429);
  assert.equal(body.error.reason, "rate_limited");
  assert.equal(headers["retry-after"], "30");
  assert.match(body.error.message, /2 requests a minute; try again in 30 s/);
  await clock.advance(30 * secondMs);
  assert.equal((await ask(app, bearer.authorization)).status, 200);
});

test("a key without a limit is never refused for its pace", async (t) => {
  const { app } = setup(t);
  const replies = await Promise.all(
    Array.from({ length: 300 }, () => ask(app, bearer.authorization)),
  );
  assert.ok(replies.every(({ status }) => status === 200));
});

test("a refused key spends nothing of the allowance", async (t) => {
  const { app, clock } = setup(t, { key: { requestsPerMinute: 1 } });
  await ask(app, "Bearer wrong");
  const headers = { ...bearer, "x-apimart-response-version": "1999-01-01" };
  assert.equal((await app.inject({ url: "/v1/me", headers })).statusCode, 400);
  assert.equal((await ask(app, bearer.authorization)).status, 200);
  assert.equal((await ask(app, bearer.authorization)).status, 429);
  await clock.advance(minuteMs);
  assert.equal((await ask(app, bearer.authorization)).status, 200);
});

test("what is left of the limits of key and account is told in headers, also by the refusal", async (t) => {
  const accountLimits = { requestsPerMinute: 2, tasksInFlight: 9, spendPerDay: null };
  const key = { requestsPerMinute: 60, tasksInFlight: 5, accountLimits };
  const { app } = setup(t, { key });
  const { headers } = await ask(app, bearer.authorization);
  const policies = [
    '"key-requests";q=60;w=60',
    '"account-requests";q=2;w=60',
    '"key-tasks";q=5;qu="concurrent-requests"',
    '"account-tasks";q=9;qu="concurrent-requests"',
  ];
  assert.equal(headers["ratelimit-policy"], policies.join(", "));
  assert.equal(headers["ratelimit"], '"key-requests";r=59;t=1, "account-requests";r=1;t=30');
  assert.equal(headers["x-ratelimit-limit"], "2");
  assert.equal(headers["x-ratelimit-remaining"], "1");
  assert.equal(headers["x-ratelimit-reset"], "30");
  await ask(app, bearer.authorization);
  const refused = await ask(app, bearer.authorization);
  assert.equal(refused.status, 429);
  assert.match(refused.body.error.message, /^this account may make 2 requests a minute/);
  assert.equal(refused.headers["x-ratelimit-remaining"], "0");
  assert.equal(
    refused.headers["ratelimit"],
    '"key-requests";r=58;t=2, "account-requests";r=0;t=60',
  );
});

test("without limits nothing is told of them", async (t) => {
  const { app } = setup(t);
  const { headers } = await ask(app, bearer.authorization);
  const told = Object.keys(headers).filter((name) => name.includes("ratelimit"));
  assert.deepEqual(told, []);
});

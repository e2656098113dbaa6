import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import { bearer, createTestServer } from "../../test/support/http.ts";
import type { TestServer } from "../../test/support/http.ts";
import type { Balance } from "../billing/balance.ts";
import { registerBalance } from "./balance.ts";

function setup(t: TestContext, balance: { key?: Balance; account?: Balance }): TestServer {
  const server = createTestServer(t);
  const none = { remain: 0, used: 0 };
  registerBalance(server.app, {
    auth: server.auth,
    balances: {
      readKeyBalance: () => Promise.resolve(balance.key ?? none),
      readAccountBalance: () => Promise.resolve(balance.account ?? none),
    },
  });
  return server;
}

test("balances are USD with six decimals, and ten times that in credits", async (t) => {
  const { app } = setup(t, { account: { remain: 10_500_001, used: 2_300_000 } });
  for (const url of ["/v1/user/balance", "/user/balance"]) {
    const reply = await app.inject({ url, headers: bearer });
    assert.deepEqual(reply.json(), {
      success: true,
      remain_balance: 10.500001,
      remain_credits: 105.00001,
      used_balance: 2.3,
      used_credits: 23,
      unlimited_quota: false,
    });
  }
});

test("a key without a cap is unlimited, shown as -1", async (t) => {
  const { app } = setup(t, { key: { remain: null, used: 38_700 } });
  for (const url of ["/v1/balance", "/balance"]) {
    const reply = await app.inject({ url, headers: bearer });
    assert.deepEqual(reply.json(), {
      success: true,
      remain_balance: -1,
      remain_credits: -1,
      used_balance: 0.0387,
      used_credits: 0.387,
      unlimited_quota: true,
    });
  }
});

test("the addresses without /v1 may be read from any origin too", async (t) => {
  const { app } = setup(t, {});
  for (const url of ["/balance", "/user/balance"]) {
    const headers = { ...bearer, origin: "https://a.example" };
    const reply = await app.inject({ url, headers });
    assert.equal(reply.headers["access-control-allow-origin"], "*");
  }
});

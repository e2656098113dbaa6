/** Holds, charges, caps and prices, as a caller and an operator see them. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import type { BalanceReply } from "../../../client/src/balance.ts";
import type { ModelDetail } from "../../../client/src/models.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import type { Client } from "../support/client.ts";
import { runJson } from "../support/gateway-process.ts";

const model = "gemini-3.1-flash-image-preview";
const small = { model, resolution: "0.5K", size: "1:1", prompt: "A red fox" };
/** Dollars of one such picture. */
const price = 0.045;

let gateway: Gateway;

before(async () => {
  gateway = await startGateway();
});

after(() => gateway.stop());

test("a hold leaves the balance at once and counts as used only when it is charged", async () => {
  const client = await newcomer("holder");
  const start = await balancesOf(client);
  assert.deepEqual(start.account, money(1_000, 0));
  assert.deepEqual(start.key, { ...money(-1, 0), remain_credits: -1, unlimited_quota: true });
  const { id } = await client.accept({ ...small, n: 2, prompt: "fox [[slow:1s]]" });
  assert.deepEqual((await balancesOf(client)).account, money(1_000 - 2 * price, 0));
  await client.wait(id);
  const end = await balancesOf(client);
  assert.deepEqual(end.account, money(1_000 - 2 * price, 2 * price));
  assert.equal(end.key.used_balance, 2 * price);
});

test("a failed task gives its whole hold back", async () => {
  const client = await newcomer("failing");
  const { id } = await client.accept({ ...small, prompt: "fox [[slow:1s]] [[fail:no_image]]" });
  assert.equal((await client.read(id)).cost, price);
  assert.deepEqual((await balancesOf(client)).account, money(1_000 - price, 0));
  assert.equal((await client.wait(id)).cost, 0);
  assert.deepEqual((await balancesOf(client)).account, money(1_000, 0));
});

test("the dearest outcome is held, and what was delivered is charged", async () => {
  const client = await newcomer("auto");
  const { id } = await client.accept({
    model: "gpt-image-1-official",
    n: 2,
    prompt: "fox [[slow:1s]]",
  });
  assert.equal((await client.read(id)).cost, 0.334);
  assert.deepEqual((await balancesOf(client)).account, money(1_000 - 0.334, 0));
  const task = await client.wait(id);
  assert.deepEqual([task.cost, task.credits_cost], [0.084, 0.84]);
  assert.deepEqual((await balancesOf(client)).account, money(1_000 - 0.084, 0.084));
});

test("with official_fallback the dearer tier is held, and the one that delivered is charged", async () => {
  const client = await newcomer("fallback");
  await runJson(gateway.folder, ["prices", "set", model, "official/0.5K", "0.5"]);
  try {
    const { id } = await client.accept({
      ...small,
      official_fallback: true,
      prompt: "fox [[slow:1s]]",
    });
    assert.equal((await client.read(id)).cost, 0.5);
    assert.equal((await client.wait(id)).cost, price);
  } finally {
    await runJson(gateway.folder, ["prices", "unset", model]);
  }
});

describe("a spend cap", () => {
  test("bounds what a key holds and spends together, and says what is left", async () => {
    const client = await gateway.connect({ cap: 100_000 });
    assert.deepEqual((await balancesOf(client)).key, money(0.1, 0));
    const { id } = await client.accept({ ...small, prompt: "fox [[slow:1s]]" });
    assert.deepEqual((await balancesOf(client)).key, money(0.055, 0));
    const refusal = await client.refuse({ ...small, n: 2 });
    const { status, type, reason } = refusal;
    assert.deepEqual([status, type, reason], [402, "payment_required", "spend_cap_reached"]);
    assert.match(refusal.message, /0\.055/);
    await client.wait(id);
    assert.deepEqual((await balancesOf(client)).key, money(0.055, price));
    assert.equal((await client.run(small)).status, "completed");
    assert.equal((await client.refuse(small)).reason, "spend_cap_reached");
    assert.deepEqual((await balancesOf(client)).key, money(0.01, 2 * price));
  });

  test("gets back what a failed task held", async () => {
    const client = await gateway.connect({ cap: 50_000 });
    await client.run({ ...small, prompt: "fox [[fail:no_image]]" });
    assert.deepEqual((await balancesOf(client)).key, money(0.05, 0));
    assert.equal((await client.run(small)).status, "completed");
  });

  test("is not passed by many submits at once", async () => {
    const client = await gateway.connect({ cap: 150_000 });
    const replies = await Promise.all(Array.from({ length: 12 }, () => client.submit(small)));
    const statuses = replies.map(({ status }) => status).toSorted((a, b) => a - b);
    assert.deepEqual(statuses, [200, 200, 200, ...Array.from({ length: 9 }, () => 402)]);
  });
});

test("play money refills itself and is never short, however dear the pictures are", async () => {
  const client = await newcomer("spender");
  await runJson(gateway.folder, ["prices", "set", model, "0.5K", "950"]);
  try {
    await client.run(small);
    assert.deepEqual((await balancesOf(client)).account, money(1_000, 950));
    await client.run({ ...small, n: 4 });
    assert.deepEqual((await balancesOf(client)).account, money(1_000, 4_750));
  } finally {
    await runJson(gateway.folder, ["prices", "unset", model, "0.5K"]);
  }
});

describe("live money", () => {
  test("is credited by the operator, once for a reference, and apart from the test money", async () => {
    const accountId = await gateway.createAccount("shop");
    const live = await gateway.connect({ accountId, mode: "live" });
    const play = await gateway.connect({ accountId });
    assert.deepEqual((await balancesOf(live)).account, money(0, 0));
    const credit = ["accounts", "credit", "shop", "12.50", "--note", "invoice 7"];
    const once = [...credit, "--reference", "inv-7"];
    type Credited = { credited: boolean; amount: number; balance: number };
    const first = await runJson<Credited>(gateway.folder, once);
    assert.deepEqual([first.credited, first.amount, first.balance], [true, 12.5, 12.5]);
    const second = await runJson<Credited>(gateway.folder, once);
    assert.deepEqual([second.credited, second.balance], [false, 12.5]);
    await runJson(gateway.folder, credit);
    assert.deepEqual((await balancesOf(live)).account, money(25, 0));
    assert.deepEqual((await balancesOf(play)).account, money(1_000, 0));
    await play.run(small);
    assert.deepEqual((await balancesOf(live)).account, money(25, 0));
  });

  test("is not held for a model that no channel serves; the refusal says how to add one", async () => {
    const accountId = await gateway.createAccount("pioneer");
    await runJson(gateway.folder, ["accounts", "credit", "pioneer", "5", "--note", "start"]);
    const live = await gateway.connect({ accountId, mode: "live" });
    const refusal = await live.refuse(small);
    const { status, type, reason, param } = refusal;
    assert.deepEqual(
      [status, type, reason, param],
      [503, "service_unavailable", "no_channel", "model"],
    );
    assert.match(refusal.message, /channels add/);
    assert.match(refusal.message, /sk-test-/);
    assert.deepEqual((await balancesOf(live)).account, money(5, 0));
    // The contract is checked first: the caller learns of a mistake before an operator is needed.
    assert.equal((await live.refuse({ ...small, size: "3:5" })).param, "size");
  });
});

describe("prices that the operator changes", () => {
  afterEach(() => runJson(gateway.folder, ["prices", "unset", model]));

  test("hold from the next submit on, and tasks keep the price they were submitted at", async () => {
    const client = await gateway.connect();
    const { id } = await client.accept({ ...small, prompt: "fox [[slow:2s]]" });
    await runJson(gateway.folder, ["prices", "set", model, "0.5K", "0.02"]);
    assert.equal((await client.run(small)).cost, 0.02);
    assert.equal((await client.run({ ...small, n: 3 })).cost, 0.06);
    const old = await client.wait(id);
    assert.equal(old.cost, price);
  });

  test("can make a model free, and the list price comes back when they are unset", async () => {
    const client = await newcomer("guest");
    await runJson(gateway.folder, ["prices", "free", model]);
    const task = await client.run({ ...small, n: 2 });
    assert.deepEqual([task.status, task.cost, task.credits_cost], ["completed", 0, 0]);
    assert.deepEqual((await balancesOf(client)).account, money(1_000, 0));
    await runJson(gateway.folder, ["prices", "unset", model]);
    assert.equal((await client.run(small)).cost, price);
  });

  test("show in the catalogue as the caller pays them", async () => {
    const accountId = await gateway.createAccount("reader");
    await runJson(gateway.folder, ["prices", "set", model, "0.5K", "0.02"]);
    await runJson(gateway.folder, ["accounts", "set", "reader", "--ratio", "0.5"]);
    const client = await gateway.connect({ accountId });
    const { body } = await client.get<ModelDetail>(`/v1/models/${model}`);
    const shown = body.pricing.rows.filter(({ row }) => row === "0.5K" || row === "1K");
    assert.deepEqual(
      shown.map((row) => [row.row, row.price]),
      [
        ["0.5K", 0.01],
        ["1K", 0.0335],
      ],
    );
    assert.equal((await client.run(small)).cost, 0.01);
  });

  test("are multiplied by the account's ratio, from the next submit on", async () => {
    const client = await newcomer("partner");
    const { id } = await client.accept({ ...small, prompt: "fox [[slow:2s]]" });
    await runJson(gateway.folder, ["accounts", "set", "partner", "--ratio", "0.333333"]);
    const task = await client.run({ ...small, n: 3 });
    // 45,000 × 0.333333 is 14,999.985 micro-USD: rounded once a picture.
    assert.equal(task.cost, 0.045);
    assert.equal((await client.run(small)).cost, 0.015);
    const stranger = await newcomer("other ratio");
    assert.equal((await stranger.run(small)).cost, price);
    assert.equal((await client.wait(id)).cost, price);
    await runJson(gateway.folder, ["accounts", "set", "partner", "--ratio", "0"]);
    assert.equal((await client.run(small)).cost, 0);
  });
});

test("after all of it every balance equals its ledger", async () => {
  type Report = { ok: boolean; ledger: { ok: boolean; accounts: number; entries: number } };
  const { ok, ledger } = await runJson<Report>(gateway.folder, ["doctor"]);
  assert.deepEqual([ok, ledger.ok], [true, true]);
  assert.ok(ledger.accounts >= 8 && ledger.entries > 60, JSON.stringify(ledger));
});

/** A client of an account of its own, whose books nobody else touches. */
async function newcomer(name: string): Promise<Client> {
  return gateway.connect({ accountId: await gateway.createAccount(name) });
}

async function balancesOf(client: Client): Promise<{ key: BalanceReply; account: BalanceReply }> {
  const key = await client.get<BalanceReply>("/v1/balance");
  const account = await client.get<BalanceReply>("/v1/user/balance");
  assert.deepEqual([key.status, account.status], [200, 200]);
  return { key: key.body, account: account.body };
}

/** A balance reply, from dollars that are left and used. */
function money(remain: number, used: number): BalanceReply {
  const round = (amount: number): number => Math.round(amount * 1e6) / 1e6;
  return {
    success: true,
    remain_balance: round(remain),
    remain_credits: round(remain * 10),
    used_balance: round(used),
    used_credits: round(used * 10),
    unlimited_quota: false,
  };
}

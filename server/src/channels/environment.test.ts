import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { test } from "node:test";

import { pino } from "pino";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { systemRandom } from "../lib/random.ts";
import { createVault } from "../lib/vault.ts";
import { builtInModels } from "../models/catalogue.ts";
import { addChannel, disableChannel, findChannel, loadChannel, vaultName } from "./add.ts";
import { applyEnvironment } from "./environment.ts";
import type { EnvironmentAccount } from "./environment.ts";
import { saveFault } from "./faults.ts";

const key = "AIza-first-key-of-gemini";
const gemini: EnvironmentAccount = {
  name: "gemini",
  variable: "GEMINI_API_KEY",
  secret: key,
  baseUrl: null,
};

async function prepare(setup: Setup) {
  const { db, clock } = await setup();
  const lines: string[] = [];
  const log = pino(
    new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        lines.push(chunk.toString());
        done();
      },
    }),
  );
  const vault = createVault({ key: Buffer.alloc(32, 3), random: systemRandom });
  const deps = { db, clock, vault, log, models: builtInModels };
  return {
    db,
    deps,
    lines,
    apply: (changes: Partial<EnvironmentAccount> = {}) =>
      applyEnvironment(deps, [{ ...gemini, ...changes }]),
    find: () => findChannel(db.read, "gemini"),
    load: () => loadChannel(db.read, "gemini"),
    keyOf: (envelope: string | null) => vault.open(vaultName("gemini"), envelope ?? ""),
  };
}

onEachDatabase((_name, setup) => {
  test("a variable makes a channel of both tiers for every model of its vendor", async () => {
    const { apply, load, keyOf } = await prepare(setup);
    await apply();
    const channel = await load();
    assert.equal(keyOf(channel.secret), key);
    assert.deepEqual([channel.source, channel.provider], ["environment", "gemini"]);
    assert.deepEqual(channel.tiers, ["standard", "official"]);
    assert.equal(channel.baseUrl, "https://generativelanguage.googleapis.com");
    assert.deepEqual(
      channel.models.map(({ model }) => model),
      builtInModels.filter(({ id }) => id.startsWith("gemini-")).map(({ id }) => id),
    );
  });

  test("a start with the same environment changes nothing", async () => {
    const { apply, load } = await prepare(setup);
    await apply();
    const before = await load();
    await apply();
    assert.deepEqual(await load(), before);
  });

  test("a new key or address is taken over, and ends a fault of the old one", async () => {
    const { apply, load, keyOf, db } = await prepare(setup);
    await apply();
    const fault = { name: "gemini", kind: "unauthorized", reason: "wrong key", now: 1 } as const;
    await db.transaction((tx) => saveFault(tx, fault));
    await apply();
    assert.equal((await load()).fault?.kind, "unauthorized");
    await apply({ secret: "AIza-second-key-of-gemini" });
    const rekeyed = await load();
    assert.equal(keyOf(rekeyed.secret), "AIza-second-key-of-gemini");
    assert.equal(rekeyed.fault, null);
    await apply({ secret: "AIza-second-key-of-gemini", baseUrl: "http://127.0.0.1:9" });
    assert.equal((await load()).baseUrl, "http://127.0.0.1:9");
  });

  test("a channel whose variable is gone is disabled with that reason, and comes back with it", async () => {
    const { apply, load, find } = await prepare(setup);
    await apply({ secret: null });
    assert.equal(await find(), null);
    await apply();
    await apply({ secret: null });
    const gone = await load();
    assert.equal(gone.disabled?.reason, "GEMINI_API_KEY is not set");
    await apply({ secret: null });
    assert.deepEqual(await load(), gone);
    await apply();
    assert.equal((await load()).disabled, null);
  });

  test("a channel of the environment that an operator disabled stays disabled", async () => {
    const { apply, load, db } = await prepare(setup);
    await apply();
    await db.transaction((tx) => disableChannel(tx, "gemini", { reason: "too dear", now: 1 }));
    await apply();
    await apply({ secret: "AIza-second-key-of-gemini" });
    assert.equal((await load()).disabled?.reason, "too dear");
  });

  test("an operator's channel of the same name is never overwritten", async () => {
    const { apply, load, deps, lines } = await prepare(setup);
    const secret = "AIza-key-of-the-operator";
    const wish = { name: "gemini", provider: "gemini", secret, weight: 3, isReplacing: false };
    await addChannel(deps, wish);
    const before = await load();
    for (const given of [key, null]) await apply({ secret: given });
    assert.deepEqual(await load(), before);
    assert.match(lines.join(""), /operator's channel of this name stays/);
  });

  test("a channel of the environment that an operator replaced is the operator's", async () => {
    const { apply, load, deps, keyOf } = await prepare(setup);
    await apply();
    await apply({ secret: null });
    const wish = { name: "gemini", provider: "gemini", secret: null, weight: 4, isReplacing: true };
    await addChannel(deps, wish);
    await apply({ secret: "AIza-second-key-of-gemini" });
    const channel = await load();
    assert.deepEqual([channel.source, channel.weight, channel.disabled], ["operator", 4, null]);
    assert.equal(keyOf(channel.secret), key);
  });

  test("what the start says of a channel holds no key", async () => {
    const { apply, lines } = await prepare(setup);
    await apply();
    await apply({ secret: null });
    assert.match(lines.join(""), /"outcome":"added"[^]*"outcome":"disabled"/);
    assert.doesNotMatch(lines.join(""), /AIza/);
    await assert.rejects(apply({ baseUrl: "nowhere" }), /GEMINI_API_KEY: base URL cannot be used/);
  });
});

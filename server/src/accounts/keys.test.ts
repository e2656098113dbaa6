import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { AppError } from "../lib/errors.ts";
import { createIds } from "../lib/ids.ts";
import { systemRandom } from "../lib/random.ts";
import { dayMs } from "../lib/time.ts";
import { createAccounts } from "./accounts.ts";
import { isAllowedIp, isAllowedModel } from "./caller.ts";
import { createKeys } from "./keys.ts";
import type { KeysDeps } from "./keys.ts";

async function setupKeys(setup: Setup) {
  const { db, clock } = await setup();
  const ids = createIds(clock, systemRandom);
  const openBooks = () => Promise.resolve();
  const accounts = createAccounts({ db, clock, ids, openBooks });
  const account = await accounts.createAccount("default");
  const deps: KeysDeps = { db, clock, random: systemRandom, ids, pepper: Buffer.from("pepper") };
  const keys = createKeys(deps);
  const settings = { accountId: account.id, mode: "live", name: "first" } as const;
  return { db, clock, accounts, account, deps, keys, settings };
}

onEachDatabase((_name, setup) => {
  test("a key without limits verifies as its account and mode, and nothing bounds it", async () => {
    const { keys, settings, account } = await setupKeys(setup);
    const { token, key } = await keys.createKey(settings);
    assert.match(token, /^sk-live-/);
    assert.equal(key.hint, token.slice(-4));
    const caller = await keys.verify(token);
    assert.deepEqual(caller, {
      accountId: account.id,
      accountName: "default",
      keyId: key.id,
      keyName: "first",
      mode: "live",
      ratioPpm: 1_000_000,
      cap: null,
      models: null,
      ips: null,
      requestsPerMinute: null,
      tasksInFlight: null,
      spendPerDay: null,
      accountLimits: null,
      expiresAt: null,
    });
    assert.ok(isAllowedModel(caller, "flux-2-pro"));
    assert.ok(isAllowedIp(caller, "203.0.113.7"));
  });

  test("every limit of a key comes back as it was set", async () => {
    const { clock, keys, settings } = await setupKeys(setup);
    const limits = {
      cap: 5_000_000,
      models: ["flux-2-pro", "flux-2-flex"],
      ips: ["203.0.113.0/24"],
      requestsPerMinute: 60,
      tasksInFlight: 3,
      expiresAt: clock.now() + dayMs,
    };
    const { token, key } = await keys.createKey({ ...settings, mode: "test", ...limits });
    assert.deepEqual(await keys.listKeys(settings.accountId), [key]);
    assert.deepEqual({ ...key, ...limits }, key);
    const caller = await keys.verify(token);
    assert.ok(caller !== null);
    assert.equal(caller.mode, "test");
    assert.deepEqual({ ...caller, ...limits, ips: caller.ips }, caller);
    assert.ok(isAllowedModel(caller, "flux-2-flex"));
    assert.equal(isAllowedModel(caller, "flux-2"), false);
    assert.ok(isAllowedIp(caller, "::ffff:203.0.113.9"));
    assert.equal(isAllowedIp(caller, "203.0.114.9"), false);
  });

  test("the database knows neither the key nor a digest that another pepper could make", async () => {
    const { db, deps, keys, settings } = await setupKeys(setup);
    const { token } = await keys.createKey(settings);
    const rows = await db.read.selectFrom("api_keys").selectAll().execute();
    assert.equal(rows.length, 1);
    assert.equal(JSON.stringify(rows).includes(token.slice(8, -4)), false);
    const others = createKeys({ ...deps, pepper: Buffer.from("another") });
    assert.equal(await others.verify(token), null);
  });

  test("unknown text is nobody", async () => {
    const { keys, settings } = await setupKeys(setup);
    const { token } = await keys.createKey(settings);
    for (const text of [
      "",
      "sk-live-",
      token.slice(0, -1),
      `${token}0`,
      token.replace("live", "test"),
    ]) {
      assert.equal(await keys.verify(text), null, text);
    }
    assert.equal(await keys.verify(`sk-live-${"0".repeat(43)}`), null);
  });

  test("a key works from the moment it is made, also one made by another process", async () => {
    const { deps, keys, settings } = await setupKeys(setup);
    const token = `sk-live-${"7".repeat(43)}`;
    assert.equal(await keys.verify(token), null);
    // The other process draws exactly this key.
    const secret = 7n * [...Array(43).keys()].reduce((sum, i) => sum + 62n ** BigInt(i), 0n);
    const bytes = Buffer.from(secret.toString(16).padStart(64, "0"), "hex");
    const operator = createKeys({ ...deps, random: { bytes: () => bytes, fraction: () => 0 } });
    assert.equal((await operator.createKey(settings)).token, token);
    assert.notEqual(await keys.verify(token), null);
  });

  test("a revoked key stops at once where it was revoked", async () => {
    const { keys, settings } = await setupKeys(setup);
    const { token, key } = await keys.createKey(settings);
    assert.notEqual(await keys.verify(token), null);
    const ref = { accountId: key.accountId, keyId: key.id };
    assert.equal(await keys.revokeKey(ref), true);
    assert.equal(await keys.verify(token), null);
    assert.equal(await keys.revokeKey(ref), false);
    assert.equal(await keys.revokeKey({ ...ref, keyId: "key_none" }), false);
    assert.notEqual((await keys.findKey(key.id))?.revokedAt, null);
  });

  test("a key revoked elsewhere stops within a second", async () => {
    const { clock, deps, keys, settings } = await setupKeys(setup);
    const { token, key } = await keys.createKey(settings);
    const before = await keys.verify(token);
    await createKeys(deps).revokeKey({ accountId: key.accountId, keyId: key.id });
    assert.equal(await keys.verify(token), before);
    await clock.advance(1_000);
    assert.equal(await keys.verify(token), null);
  });

  test("a look-up that began before the revocation is not remembered after it", async () => {
    const { keys, settings } = await setupKeys(setup);
    const { token, key } = await keys.createKey(settings);
    const [early] = await Promise.all([
      keys.verify(token),
      keys.revokeKey({ accountId: key.accountId, keyId: key.id }),
    ]);
    assert.equal(early === null || early.keyId === key.id, true);
    assert.equal(await keys.verify(token), null);
  });

  test("a verified key costs one look-up a second", async () => {
    const { clock, accounts, keys, settings } = await setupKeys(setup);
    const { token } = await keys.createKey(settings);
    const first = await keys.verify(token);
    await accounts.setRatio("default", 500_000);
    await clock.advance(999);
    assert.equal(await keys.verify(token), first);
    await clock.advance(1);
    assert.equal((await keys.verify(token))?.ratioPpm, 500_000);
  });

  test("a key ends at its expiry, remembered or not", async () => {
    const { clock, keys, settings } = await setupKeys(setup);
    const { token } = await keys.createKey({ ...settings, expiresAt: clock.now() + 500 });
    assert.notEqual(await keys.verify(token), null);
    await clock.advance(499);
    assert.notEqual(await keys.verify(token), null);
    await clock.advance(1);
    assert.equal(await keys.verify(token), null);
    await clock.advance(dayMs);
    assert.equal(await keys.verify(token), null);
  });

  test("a setting out of range is refused by name and makes no key", async () => {
    const { clock, keys, settings } = await setupKeys(setup);
    const cases = [
      [{ name: " " }, "name"],
      [{ name: "a\u0007" }, "name"],
      [{ name: "x".repeat(101) }, "name"],
      [{ cap: -1 }, "cap"],
      [{ cap: 0.5 }, "cap"],
      [{ models: [] }, "models"],
      [{ models: ["flux-2-pro", ""] }, "models"],
      [{ ips: ["10.0.0.0/40"] }, "ips"],
      [{ requestsPerMinute: 0 }, "requests_per_minute"],
      [{ requestsPerMinute: 1_000_001 }, "requests_per_minute"],
      [{ tasksInFlight: 1.5 }, "tasks_in_flight"],
      [{ expiresAt: clock.now() }, "expires_at"],
    ] as const;
    for (const [change, param] of cases) {
      await assert.rejects(
        keys.createKey({ ...settings, ...change }),
        (error) =>
          error instanceof AppError && error.param === param && error.message.includes(param),
        JSON.stringify(change),
      );
    }
    assert.deepEqual(await keys.listKeys(settings.accountId), []);
  });

  test("a key of no account is not made", async () => {
    const { keys, settings } = await setupKeys(setup);
    await assert.rejects(
      keys.createKey({ ...settings, accountId: "acc_none" }),
      /belongs to an account/,
    );
    assert.deepEqual(await keys.listKeys("acc_none"), []);
  });

  test("keys are listed in pages, of their account alone", async () => {
    const { accounts, keys, settings } = await setupKeys(setup);
    const other = await accounts.createAccount("other");
    const names = ["one", "two", "three"];
    for (const name of names) await keys.createKey({ ...settings, name });
    const foreign = await keys.createKey({ ...settings, accountId: other.id });
    const first = await keys.listKeys(settings.accountId, { limit: 2 });
    const rest = await keys.listKeys(settings.accountId, { limit: 2, after: first[1]!.id });
    assert.deepEqual(
      [...first, ...rest].map((key) => key.name),
      names,
    );
    assert.deepEqual(await keys.findKey(foreign.key.id), foreign.key);
    assert.equal(await keys.findKey("key_none"), null);
  });
});

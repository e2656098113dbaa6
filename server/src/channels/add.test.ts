import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { AppError } from "../lib/errors.ts";
import { systemRandom } from "../lib/random.ts";
import { createVault } from "../lib/vault.ts";
import { builtInModels } from "../models/catalogue.ts";
import {
  addChannel,
  disableChannel,
  enableChannel,
  findChannel,
  loadChannel,
  vaultName,
} from "./add.ts";
import type { NewChannel } from "./add.ts";
import { clearFault, saveFault } from "./faults.ts";
import type { StoredChannel } from "./settings.ts";

const key = "sk-proj-0123456789abcdef";
const wish: NewChannel = { name: "main", provider: "openai", secret: key, isReplacing: false };

async function prepare(setup: Setup) {
  const { db, clock } = await setup();
  const vault = createVault({ key: Buffer.alloc(32, 3), random: systemRandom });
  const add = (changes: Partial<NewChannel> = {}) =>
    addChannel({ db, clock, vault, models: builtInModels }, { ...wish, ...changes });
  const refuse = async (changes: Partial<NewChannel>): Promise<string> => {
    try {
      await add(changes);
    } catch (error) {
      assert.ok(error instanceof AppError && error.reason === "invalid_parameter", String(error));
      return error.message;
    }
    return assert.fail(`accepted ${JSON.stringify(changes)}`);
  };
  const keyOf = ({ name, secret }: StoredChannel) =>
    secret === null ? null : vault.open(vaultName(name), secret);
  return { db, clock, add, refuse, keyOf };
}

onEachDatabase((_name, setup) => {
  test("a channel needs no more than a name, a provider and a key", async () => {
    const { add, keyOf, clock } = await prepare(setup);
    const { secret, ...channel } = await add();
    assert.equal(keyOf({ ...channel, secret }), key);
    assert.deepEqual(channel, {
      name: "main",
      provider: "openai",
      source: "operator",
      baseUrl: "https://api.openai.com/v1",
      secretHint: "cdef",
      models: [
        { model: "gpt-image-1-official", upstreamModel: "gpt-image-2.5-flare" },
        { model: "gpt-image-1.5-official", upstreamModel: "gpt-image-2.5-sunburst" },
        { model: "gpt-image-2-official", upstreamModel: "gpt-image-2" },
        { model: "gpt-image-2.5-flare", upstreamModel: "gpt-image-2.5-flare" },
        { model: "gpt-image-2.5-sunburst", upstreamModel: "gpt-image-2.5-sunburst" },
      ],
      tiers: ["standard", "official"],
      priority: 0,
      weight: 1,
      costRatioPpm: 1_000_000,
      caps: {},
      timeoutMs: 600_000,
      unknownOutcome: "fail",
      allow: [],
      settings: {},
      disabled: null,
      fault: null,
      revision: 1,
      createdAt: clock.now(),
      updatedAt: clock.now(),
    });
  });

  test("everything that is wanted of a channel is kept", async () => {
    const { add, db } = await prepare(setup);
    const all = {
      baseUrl: "http://10.1.2.3:8080/v1",
      models: [{ model: "flux-2-pro", upstreamModel: "flux.2-dev" }],
      tiers: ["standard"],
      priority: -5,
      weight: 0,
      costRatioPpm: 0,
      caps: { "*": 2, "flux.2-dev": 1 },
      timeoutMs: 90_000,
      unknownOutcome: "retry_once",
      allow: ["10.1.0.0/16"],
      settings: { profile: "sglang" },
    } as const;
    await add({
      provider: "openai-compatible",
      secret: null,
      ...all,
      settings: { ...all.settings },
    });
    const stored = await loadChannel(db.read, "main");
    assert.deepEqual({ ...stored, ...all }, stored);
    assert.deepEqual([stored.secret, stored.secretHint], [null, null]);
  });

  test("a name that is taken is refused, and the channel of that name stays as it is", async () => {
    const { add, refuse, db } = await prepare(setup);
    const before = await add();
    assert.match(await refuse({ weight: 9 }), /channel "main" exists; .*--replace/);
    assert.deepEqual(await findChannel(db.read, "main"), before);
  });

  test("a channel that is replaced is made anew, keeps its key at the same address, and loses its fault", async () => {
    const { add, keyOf, db, clock } = await prepare(setup);
    await add({ weight: 9, caps: { "*": 3 } });
    const now = clock.now();
    const fault = { name: "main", kind: "exhausted", reason: "no money", now } as const;
    await db.transaction((tx) => saveFault(tx, fault));
    const replaced = await add({ secret: null, isReplacing: true, priority: 2 });
    assert.equal(keyOf(replaced), key);
    assert.deepEqual([replaced.priority, replaced.weight, replaced.caps], [2, 1, {}]);
    assert.deepEqual([replaced.fault, replaced.revision], [null, 3]);
    const rekeyed = await add({ secret: "sk-another-key-0123456789", isReplacing: true });
    assert.equal(keyOf(rekeyed), "sk-another-key-0123456789");
    assert.equal(rekeyed.secretHint, "6789");
  });

  test("a kept key never goes to another address or another provider", async () => {
    const { add, refuse, keyOf } = await prepare(setup);
    await add();
    const moved = { secret: null, isReplacing: true, baseUrl: "https://other.example.com/v1" };
    assert.match(await refuse(moved), /channel "main" needs a key; give --key-env/);
    const models = [{ model: "gpt-image-2.5-flare" }];
    const other = { ...moved, provider: "openai-compatible", models };
    assert.equal(keyOf(await add(other)), null);
  });

  test("a vendor's channel without a key is refused", async () => {
    const { refuse } = await prepare(setup);
    assert.match(await refuse({ secret: null }), /channel "main" needs a key; give --key-env/);
  });

  test("what cannot be used is refused by its name, with what is allowed, and nothing is written", async () => {
    const { refuse, db } = await prepare(setup);
    const own = { provider: "openai-compatible", secret: null, baseUrl: "http://10.1.2.3/v1" };
    const flare = [{ model: "gpt-image-2.5-flare" }];
    const cases: [changes: Partial<NewChannel>, words: RegExp][] = [
      [{ name: "../x" }, /name "\.\.\/x" cannot be used; use 1 to 63/],
      [{ name: "sandbox" }, /taken by the built-in channel/],
      [{ provider: "dall-e" }, /provider "dall-e" does not exist; use one of openai/],
      [{ secret: "two words" }, /the key cannot be used/],
      [{ secret: " \n" }, /the key cannot be used: it is empty/],
      [{ baseUrl: "https://api.openai.com" }, /base URL cannot be used for openai; .*\/v1/],
      [{ provider: "bfl", baseUrl: "https://api.bfl.ai/v1" }, /origin without a path/],
      [{ baseUrl: "https://u:secret@example.com/v1" }, /no user, query or fragment/],
      [{ baseUrl: "https://example.com/v1?key=1" }, /no user, query or fragment/],
      [{ ...own, baseUrl: undefined, models: flare }, /base URL is missing/],
      [own, /models are missing; name at least one/],
      [{ models: [{ model: "flux-2-pro" }] }, /"flux-2-pro" cannot be served by openai; use gpt-/],
      [{ ...own, models: [{ model: "nothing" }] }, /"nothing" cannot be served by openai-comp/],
      [{ models: [...flare, ...flare] }, /"gpt-image-2\.5-flare" stands there twice/],
      [{ models: [{ ...flare[0]!, upstreamModel: "a b" }] }, /upstream name/],
      [{ tiers: [] }, /tiers are missing/],
      [{ priority: 1_001 }, /priority 1001 cannot be used; .* from -1000 to 1000/],
      [{ weight: -1 }, /weight -1 cannot be used/],
      [{ timeoutMs: 999 }, /timeout of 0.999 seconds cannot be used; give 1 to 86400 seconds/],
      [{ caps: { "gpt-image-1": 2 } }, /"gpt-image-1" is not served; use \* or gpt-image-2/],
      [{ caps: { "*": 0 } }, /cap of \* 0 cannot be used/],
      [{ allow: ["10.0.0.0/33"] }, /allow: "10\.0\.0\.0\/33" is not a range/],
      [{ settings: { region: "eu" } }, /settings: .*region/],
      [{ ...own, provider: "comfyui", models: flare }, /settings\.workflows/],
    ];
    for (const [changes, words] of cases) {
      const message = await refuse(changes);
      assert.match(message, words);
      assert.doesNotMatch(message, /two words|secret@/);
    }
    assert.equal(await findChannel(db.read, "main"), null);
  });

  test("a key loses the line break that a file ends with, and a short one is not hinted at", async () => {
    const { add, keyOf } = await prepare(setup);
    assert.equal(keyOf(await add({ secret: `${key}\n` })), key);
    const short = await add({ name: "short", secret: "hunter2" });
    assert.deepEqual([keyOf(short), short.secretHint], ["hunter2", null]);
  });

  test("disabling keeps the first reason, enabling takes it away, and each change raises the revision", async () => {
    const { add, db } = await prepare(setup);
    await add();
    const disable = (reason: string, now: number) =>
      db.transaction((tx) => disableChannel(tx, "main", { reason, now }));
    await disable("moving", 5);
    await disable("again", 6);
    const disabled = await loadChannel(db.read, "main");
    assert.deepEqual(disabled.disabled, { at: 5, reason: "moving" });
    assert.equal(disabled.revision, 2);
    for (const now of [7, 8]) await db.transaction((tx) => enableChannel(tx, "main", now));
    const enabled = await loadChannel(db.read, "main");
    assert.deepEqual([enabled.disabled, enabled.revision], [null, 3]);
    await disable("moving", 9);
    assert.deepEqual((await add({ isReplacing: true })).disabled, { at: 9, reason: "moving" });
  });

  test("a channel that does not exist is neither disabled nor enabled nor faulted", async () => {
    const { db } = await prepare(setup);
    const gone = /channel "gone" does not exist; see "channels list"/;
    const faulted = { name: "gone", kind: "exhausted", reason: "r", now: 1 } as const;
    await db.transaction(async (tx) => {
      await assert.rejects(disableChannel(tx, "gone", { reason: "r", now: 1 }), gone);
      await assert.rejects(enableChannel(tx, "gone", 1), gone);
      assert.equal(await saveFault(tx, faulted), false);
      assert.equal(await clearFault(tx, "gone"), false);
    });
  });

  test("a fault's reason is cut, and holds no key of ours", async () => {
    const { add, db } = await prepare(setup);
    await add();
    const reason = `refused sk-live-0123456789abcdef ${"x".repeat(900)}`;
    await db.transaction((tx) =>
      saveFault(tx, { name: "main", kind: "unauthorized", reason, now: 1 }),
    );
    const { fault } = await loadChannel(db.read, "main");
    assert.match(fault!.reason, /^refused \[redacted\] x+…$/);
    assert.ok(fault!.reason.length <= 501);
  });
});

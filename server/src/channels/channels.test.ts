import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { test } from "node:test";

import { pino } from "pino";

import { onEachDatabase, openTestDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { createVendor } from "../../test/support/vendor.ts";
import type { Database } from "../db/database.ts";
import { createEgress } from "../lib/egress.ts";
import { systemRandom } from "../lib/random.ts";
import { minuteMs } from "../lib/time.ts";
import { createVault } from "../lib/vault.ts";
import type { Vault } from "../lib/vault.ts";
import { builtInModels } from "../models/catalogue.ts";
import { addChannel, disableChannel, enableChannel, listChannels, loadChannel } from "./add.ts";
import type { NewChannel } from "./add.ts";
import type { Channel } from "./channel.ts";
import { createChannels, createSandboxChannel } from "./channels.ts";
import type { Channels } from "./channels.ts";
import { createConnector } from "./connect.ts";

const { adapter } = createVendor().channel;
const key = "bfl-key-that-nobody-may-see-1234";
const wish: NewChannel = { name: "bfl", provider: "bfl", secret: key, isReplacing: false };

type Node = {
  db: Database;
  channels: Channels;
  vault: Vault;
  now: () => number;
  /** Lines of the log so far. */
  log: string[];
  add(changes?: Partial<NewChannel>): Promise<void>;
};

/** A node on a database of its own, which another node may share. */
async function createNode(setup: Setup, builtIn: readonly Channel[] = []) {
  const { db, clock, target } = await setup();
  const log: string[] = [];
  const lines = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      log.push(chunk.toString());
      done();
    },
  });
  const vault = createVault({ key: Buffer.alloc(32, 3), random: systemRandom });
  const models = builtInModels;
  const resolve = (): never => assert.fail("nothing is sent");
  const openEgress = (allow: readonly string[]) => createEgress({ allow, resolve, clock });
  const connector = createConnector({ openEgress, allow: [], models });
  const channels = createChannels({ db, clock, log: pino(lines), vault, connector, builtIn });
  const node: Node = {
    db,
    channels,
    vault,
    now: () => clock.now(),
    log,
    add: async (changes) =>
      void (await addChannel({ db, clock, vault, models }, { ...wish, ...changes })),
  };
  return { ...node, clock, target };
}

onEachDatabase((_name, setup) => {
  test("the sandbox serves every model under test keys, and none under live keys", async () => {
    const { channels } = await createNode(setup, [createSandboxChannel(adapter)]);
    assert.equal(channels.serves("any-model", "test"), true);
    assert.equal(channels.serves("any-model", "test", ["official"]), true);
    assert.equal(channels.serves("any-model", "live"), false);
    assert.equal(channels.find("sandbox")?.upstreamModel("any-model"), "any-model");
    assert.equal(channels.find("gone"), null);
  });

  test("a refresh sees what another process has added, changed and disabled", async () => {
    const { channels, target, clock, vault } = await createNode(setup);
    await channels.refresh();
    assert.deepEqual(channels.list(), []);
    const other = await openTestDatabase(target);
    try {
      const deps = { db: other, clock, vault, models: builtInModels };
      await addChannel(deps, wish);
      assert.equal(channels.find("bfl"), null);
      await channels.refresh();
      assert.equal(channels.find("bfl")?.priority, 0);
      assert.equal(channels.serves("flux-2-pro", "live"), true);
      assert.equal(channels.serves("flux-2-pro", "test"), false);
      assert.equal(channels.serves("gpt-image-2.5-flare", "live"), false);

      const tiers = ["official"] as const;
      await addChannel(deps, { ...wish, isReplacing: true, priority: 7, tiers });
      await channels.refresh();
      assert.equal(channels.find("bfl")?.priority, 7);
      assert.equal(channels.serves("flux-2-pro", "live", ["standard"]), false);
      assert.equal(channels.serves("flux-2-pro", "live", ["standard", "official"]), true);

      const now = clock.now();
      await other.transaction((tx) => disableChannel(tx, "bfl", { reason: "moving", now }));
      await channels.refresh();
      assert.equal(channels.serves("flux-2-pro", "live"), false);
      assert.equal(channels.find("bfl")?.isDisabled, true);
      await other.transaction((tx) => enableChannel(tx, "bfl", now));
      await channels.refresh();
      assert.equal(channels.serves("flux-2-pro", "live"), true);
    } finally {
      await other.close();
    }
  });

  test("a refresh leaves channels that did not change as they are", async () => {
    const { channels, add } = await createNode(setup);
    await add();
    await add({ name: "second" });
    await channels.refresh();
    const before = channels.find("bfl");
    await add({ name: "second", isReplacing: true, weight: 5 });
    await channels.refresh();
    assert.equal(channels.find("bfl"), before);
    assert.equal(channels.find("second")?.weight, 5);
  });

  test("a refresh that is asked for during another sees what was committed before it", async () => {
    const { channels, add } = await createNode(setup);
    const first = channels.refresh();
    await add();
    await channels.refresh();
    assert.notEqual(channels.find("bfl"), null);
    await first;
  });

  test("a channel has what its row says, with the provider's defaults", async () => {
    const { channels, add } = await createNode(setup);
    await add({ models: [{ model: "flux-2-pro", upstreamModel: "flux-2-pro-preview" }] });
    await add({ name: "all", costRatioPpm: 800_000, unknownOutcome: "retry_once" });
    await channels.refresh();
    const one = channels.find("bfl")!;
    assert.equal(one.upstreamModel("flux-2-pro"), "flux-2-pro-preview");
    assert.equal(one.upstreamModel("flux-2-flex"), null);
    assert.deepEqual([...one.caps], [["*", 24]]);
    assert.equal(one.timeoutMs, 10 * minuteMs);
    const all = channels.find("all")!;
    assert.deepEqual(Object.fromEntries(all.caps), { "*": 24, "flux-kontext-max": 6 });
    assert.deepEqual([all.costRatioPpm, all.unknownOutcome], [800_000, "retry_once"]);
    assert.deepEqual([all.isDisabled, all.fault, all.mode], [false, null, "live"]);
    assert.equal(all.adapter.name, "bfl");
    assert.notEqual(all.egress, undefined);
  });

  test("a channel that cannot be made is told of and takes no other with it", async () => {
    const { channels, add, db, log } = await createNode(setup);
    await add();
    await add({ name: "foreign" });
    const row = await loadChannel(db.read, "bfl");
    // The envelope of another channel, as after a row was copied by hand.
    await db.transaction((tx) =>
      tx
        .updateTable("channels")
        .set({ secret: row.secret })
        .where("name", "=", "foreign")
        .execute(),
    );
    await channels.refresh();
    assert.equal(channels.find("foreign"), null);
    assert.notEqual(channels.find("bfl"), null);
    assert.equal(log.length, 1);
    assert.match(log[0]!, /"channel":"foreign"/);
    await channels.refresh();
    assert.equal(log.length, 1, "it is told of once");
  });

  test("a fault is written for all nodes, pauses the channel by its kind, and ends with a success", async () => {
    const { channels, add, db, now } = await createNode(setup);
    await add();
    await add({ name: "second" });
    await channels.refresh();
    await channels.reportFault("bfl", "unauthorized", "HTTP 403 Not authenticated");
    await channels.reportFault("second", "exhausted", "HTTP 402");
    assert.deepEqual(channels.find("bfl")?.fault, {
      kind: "unauthorized",
      reason: "HTTP 403 Not authenticated",
      at: now(),
      until: now() + 15 * minuteMs,
    });
    assert.equal(channels.find("second")?.fault?.until, now() + 5 * minuteMs);
    const stored = await listChannels(db.read);
    assert.deepEqual(
      stored.map(({ fault }) => fault?.kind),
      ["unauthorized", "exhausted"],
    );
    await channels.reportSuccess("bfl");
    assert.equal(channels.find("bfl")?.fault, null);
    assert.equal((await loadChannel(db.read, "bfl")).fault, null);
    assert.equal(channels.find("second")?.fault?.kind, "exhausted");
  });

  test("a success of a channel without a fault writes nothing", async () => {
    const { channels, add, db } = await createNode(setup, [createSandboxChannel(adapter)]);
    await add();
    await channels.refresh();
    const { revision } = await loadChannel(db.read, "bfl");
    for (const name of ["bfl", "sandbox", "gone"]) await channels.reportSuccess(name);
    assert.equal((await loadChannel(db.read, "bfl")).revision, revision);
  });

  test("no key is in a row, a log or a print of a channel", async () => {
    const { channels, add, db, log } = await createNode(setup);
    await add();
    await channels.refresh();
    await channels.reportFault("bfl", "unauthorized", "refused");
    const rows = await db.read.selectFrom("channels").selectAll().execute();
    const shown = JSON.stringify([rows, await listChannels(db.read), channels.list(), log]);
    assert.ok(!shown.includes(key) && !shown.includes(key.slice(0, 12)), shown);
    assert.ok(shown.includes(`"${key.slice(-4)}"`));
  });
});

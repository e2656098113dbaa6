import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachEngine } from "../../test/support/engine.ts";
import {
  brokenPicture,
  createVendor,
  delivered,
  failedPicture,
  handleOf,
  running,
} from "../../test/support/vendor.ts";
import type { Vendor, VendorOptions } from "../../test/support/vendor.ts";
import { ProviderError } from "../providers/adapter.ts";

/** A vendor that keeps what it has made under a handle. */
function createKeeper(options: VendorOptions = {}): Vendor {
  return createVendor({
    submit: running(),
    poll: delivered(),
    forget: { work: async () => {} },
    ...options,
  });
}

onEachEngine((_name, open) => {
  test("a vendor is told to forget a picture once its end is durable", async () => {
    const seen: unknown[] = [];
    const vendor = createKeeper({
      forget: {
        work: async () => {
          const [attempt] = await engine.attempts(id);
          seen.push(attempt?.state, (await engine.find(id)).state, engine.unsynced());
        },
      },
    });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    await engine.rest();
    assert.deepEqual(seen, ["done", "completed", 0]);
    const call = vendor.calls.at(-1);
    assert.equal(call?.verb, "forget");
    assert.deepEqual(call?.handle, handleOf({ attemptId: call.attemptId }));
  });

  test("a vendor that does not forget fails no task and holds up no worker", async () => {
    let calledOff = 0;
    const refuse = async (): Promise<void> => {
      throw new ProviderError("unauthorized", "no");
    };
    const hang = ({ signal }: { signal: AbortSignal }): Promise<void> =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          calledOff += 1;
          reject(new ProviderError("unavailable", "called off"));
        });
      });
    for (const forget of [
      { hangs: false, work: refuse },
      { hangs: true, work: hang },
    ]) {
      const vendor = createKeeper({ forget });
      await using engine = await open({ vendors: [vendor] });
      const id = await engine.submit();
      const { worker } = await engine.start();
      await engine.untilEnded(id);
      assert.equal((await engine.read(id)).status, "completed");
      await engine.run(() => worker.tasksInHand === 0, 6_000);
      assert.equal(vendor.countOf("forget"), 1);
      await engine.checkLedger();
    }
    assert.equal(calledOff, 1);
  });

  test("what could not be stored stays with the vendor, and what it refused does not", async () => {
    const cases = [
      { picture: brokenPicture(), forgotten: 0 },
      { picture: failedPicture("refused"), forgotten: 1 },
    ];
    for (const { picture, forgotten } of cases) {
      const vendor = createKeeper({ poll: delivered([picture]) });
      await using engine = await open({ vendors: [vendor] });
      const id = await engine.submit();
      await engine.start();
      await engine.untilEnded(id);
      await engine.rest();
      assert.equal((await engine.read(id)).status, "failed");
      assert.equal(vendor.countOf("forget"), forgotten);
    }
  });

  test("a vendor that answers at once keeps nothing, and is told nothing", async () => {
    const vendor = createKeeper({ submit: delivered() });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    await engine.rest();
    assert.equal(vendor.countOf("forget"), 0);
  });
});

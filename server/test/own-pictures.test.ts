/** Live and test pictures of one account stay apart, also as references. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { AppError } from "../src/lib/errors.ts";
import { onEachEngine } from "./support/engine.ts";
import { createVendor } from "./support/vendor.ts";

onEachEngine((_name, open) => {
  test("a result is a reference in its own mode, and nobody's picture in the other one", async () => {
    const live = createVendor({ name: "live" });
    const play = createVendor({ name: "play", mode: "test" });
    await using engine = await open({ vendors: [live, play], mode: "live" });
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    const { result } = await engine.read(id);
    const body = { image_urls: result!.images[0]!.url };
    const { accountId } = engine.caller;
    const other = await engine.createCaller({ accountId, mode: "test" });
    await engine.submit(body);
    await assert.rejects(
      engine.submit(body, other),
      (error: unknown) => error instanceof AppError && /other mode/.test(error.message),
    );
  });
});

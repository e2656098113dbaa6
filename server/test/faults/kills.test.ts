/** A server that dies at any commit or any exchange with a vendor. `npm run faults` runs longer. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { killEverywhere } from "./kills.ts";
import type { Scenario } from "./kills.ts";

/** What the ends must have in them, so that a run in which nothing was lost proves nothing. */
type Row = Scenario & { promise: string; loses: boolean };

const rows: readonly Row[] = [
  {
    vendor: "bfl",
    tasks: 1,
    pictures: 1,
    promise: "work whose handle is committed is asked for by it, and nothing is submitted twice",
    loses: true,
  },
  {
    vendor: "comfyui",
    tasks: 1,
    pictures: 1,
    promise: "work is sent again under its name, and made once",
    loses: false,
  },
  {
    vendor: "openai",
    tasks: 1,
    pictures: 2,
    promise: "a call of which nobody knows is not made again, not charged, and booked as waste",
    loses: true,
  },
  {
    vendor: "gemini",
    tasks: 1,
    pictures: 2,
    promise: "each of two calls is made once, and charged when its picture is there",
    loses: true,
  },
];

describe("killed at every commit and every exchange:", { concurrency: 2 }, () => {
  for (const { promise, loses, ...scenario } of rows) {
    test(`${scenario.vendor}: ${promise}`, async (t) => {
      const { problems, killedAt, ends } = await killEverywhere(scenario);
      t.diagnostic(`${scenario.vendor}: killed ${killedAt.length} times; ${JSON.stringify(ends)}`);
      assert.deepEqual(problems, []);
      assert.ok(killedAt.filter((place) => place === "after a commit").length >= 4);
      assert.ok(killedAt.some((place) => place.startsWith("before the reply")));
      assert.equal("failed: outcome_unknown" in ends, loses);
      assert.ok(Number(ends["completed"]) >= 6, JSON.stringify(ends));
    });
  }
});

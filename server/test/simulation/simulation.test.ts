import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { sql } from "kysely";

import { must } from "../../src/lib/errors.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { simulate } from "./simulate.ts";
import type { World } from "./world.ts";

const program = fileURLToPath(new URL("./run.ts", import.meta.url));

// As processes of their own: the test runner watches every promise, which makes a run three times as slow.
for (const [name, from, seeds] of [
  ["always the same seeds", 1, 10],
  ["seeds that nobody has tried", systemRandom.bytes(4).readUInt32BE(), 16],
] as const) {
  test(`whatever deaths, faults and vendors do, no task is lost and nothing is paid twice: ${name}`, async () => {
    const args = [program, "--from", String(from), "--seeds", String(seeds)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const [said, [code]] = await Promise.all([text(child.stdout), once(child, "close")]);
    assert.equal(code, 0, said);
    const count = (what: string): number =>
      Number(new RegExp(`^${what} +(\\d+)$`, "m").exec(said)?.[1]);
    assert.ok(count("nodes") > seeds, "there was never more than one node");
    for (const what of ["deaths", "takeovers", "told"]) {
      assert.ok(count(what) > seeds, `hardly anything has happened: ${said}`);
    }
  });
}

test("a seed says everything: the same one makes the same run, to the last row", async () => {
  const [first, again, other] = [await simulate(7), await simulate(7), await simulate(8)];
  assert.equal(again.fingerprint, first.fingerprint);
  assert.notEqual(other.fingerprint, first.fingerprint);
});

describe("the oracles see", () => {
  const tampered: Record<string, { tamper(world: World): Promise<void> | void; seen: RegExp }> = {
    "a picture that a vendor bills a second time": {
      tamper: ({ vendors }) => {
        const vendor = must(
          vendors.find(({ bills }) => bills.length > 0),
          "a vendor with a bill",
        );
        vendor.bills.push(must(vendor.bills[0], "a bill"));
      },
      seen: /billed att_\w+ twice/,
    },
    "a bill that no cost covers": {
      tamper: (world) => run(world, "drop trigger costs_no_delete", "delete from costs"),
      seen: /no cost is booked/,
    },
    "a task that was accepted and is not there": {
      tamper: ({ accepted, callers }) => void accepted.set("task_LOST", callers[0]!),
      seen: /task_LOST is lost/,
    },
    "an ended task that changes": {
      tamper: (world) => run(world, "update tasks set revision = revision + 1"),
      seen: /ended as .* and is now/,
    },
    "a place that nobody holds": {
      tamper: (world) => run(world, "update channel_load set in_flight = 1"),
      seen: /channel_load says/,
    },
    "money that the ledger does not know of": {
      tamper: (world) => run(world, "update balances set available = available + 1"),
      seen: /the balance says/,
    },
    "a picture that is not stored": {
      tamper: ({ storage }) => storage.objects.clear(),
      seen: /a picture of task_\w+ is gone/,
    },
    "an end that nobody was told of": {
      tamper: ({ receiver }) => void receiver.told.splice(0),
      seen: /nobody was told of evt_\w+, the end of task_\w+/,
    },
    "a webhook of an end that was not committed": {
      tamper: ({ receiver }) => void receiver.told.push({ eventId: "evt_GHOST", body: "{}" }),
      seen: /evt_GHOST was told of, and no row names it/,
    },
    "a webhook that tells of an end in other words": {
      tamper: ({ receiver }) => {
        const { eventId } = must(receiver.told[0], "a webhook");
        receiver.told.push({ eventId, body: "{}" });
      },
      seen: /evt_\w+ was told of in other words/,
    },
    "a webhook that was given up": {
      tamper: (world) => run(world, "update deliveries set state = 'failed'"),
      seen: /a webhook is still on its way, or was given up/,
    },
    "references that are not the same ones every time": {
      tamper: ({ vendors }) => {
        for (const { sources } of vendors) for (const seen of sources.values()) seen.push("others");
      },
      seen: /task_\w+ was made from other references each time/,
    },
    "a good picture that was dropped": {
      tamper: (world) =>
        run(
          world,
          "update slots set state = 'failed', captured = 0, error_json = '{\"code\":\"no_image\"}' where state = 'done'",
        ),
      seen: /the picture that att_\w+ has made for slot \d of task_\w+ was dropped/,
    },
    "a submit that was repeated where it never may be": {
      tamper: ({ vendors }) => {
        const vendor = must(
          vendors.find(({ resend, submits }) => resend === "never" && submits.length > 0),
          "a vendor",
        );
        vendor.submits.push(must(vendor.submits[0], "a submit"));
      },
      seen: /was sent att_\w+ twice/,
    },
  };
  for (const [name, { tamper, seen }] of Object.entries(tampered)) {
    test(name, async () => {
      const { problems } = await simulate(7, tamper);
      assert.match(problems.join("\n"), seen);
    });
  }
});

async function run({ db }: World, ...statements: readonly string[]): Promise<void> {
  await db.transaction(async (tx) => {
    for (const statement of statements) await sql.raw(statement).execute(tx);
  });
}

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Task as WireTask } from "../../../client/src/tasks.ts";
import type { EventRow } from "../db/webhook-rows.ts";
import { onEachEngine } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import { createVendor, failing } from "../../test/support/vendor.ts";
import { insertEndpoint } from "../webhooks/endpoint-store.ts";
import { failTask } from "./fail.ts";
import { endSlots, endingPorts } from "./finish.ts";
import { lockQueueRow } from "./queue-store.ts";

const webhook = "https://example.com/hooks";

function listEvents({ db }: TestEngine): Promise<EventRow[]> {
  return db.read.selectFrom("events").selectAll().orderBy("id").execute();
}

async function register({ db, clock, caller }: TestEngine, events: string): Promise<void> {
  await db.transaction((tx) =>
    insertEndpoint(tx, {
      account_id: caller.accountId,
      id: `whe_${events}`,
      mode: caller.mode,
      url: "https://example.com/all",
      description: null,
      events,
      secret: "sealed",
      previous_secret: null,
      previous_until: null,
      failed_tries: 0,
      failing_since: null,
      disabled_at: null,
      disabled_reason: null,
      created_at: clock.now(),
    }),
  );
}

onEachEngine((_name, open) => {
  test("a completed task leaves one event whose body is the task as a poll shows it", async () => {
    await using engine = await open();
    await engine.start();
    const id = await engine.submit({ webhook });
    await engine.untilEnded(id);
    const [event, ...others] = await listEvents(engine);
    assert.equal(others.length, 0);
    assert.deepEqual(
      [event?.type, event?.task_id, event?.webhook, event?.mode, event?.expanded_at],
      ["task.completed", id, webhook, "live", null],
    );
    assert.deepEqual(JSON.parse(event?.body ?? ""), await engine.read(id));
    const { result } = JSON.parse(event?.body ?? "") as WireTask;
    assert.match(result?.images[0]?.url[0] ?? "", /^http:\/\/darkroom\.test\/f\//);
  });

  test("the body of a failed task is in the language that the submit named", async () => {
    await using engine = await open({ vendors: [createVendor({ submit: failing("refused") })] });
    await engine.start();
    const id = await engine.submit({ webhook, language: "de" });
    await engine.untilEnded(id);
    const [event] = await listEvents(engine);
    assert.equal(event?.type, "task.failed");
    const body = JSON.parse(event.body) as WireTask;
    assert.deepEqual(body, await engine.read(id, "de"));
    assert.notEqual(body.error?.message, (await engine.read(id, "en")).error?.message);
  });

  test("a task that nobody is to be told of leaves no event", async () => {
    await using engine = await open();
    await register(engine, "task.failed");
    await engine.start();
    await engine.untilEnded(await engine.submit());
    assert.deepEqual(await listEvents(engine), []);
  });

  test("a registered endpoint is told of cancelled tasks when it asked for them, an address of a submit never", async () => {
    await using engine = await open();
    await engine.cancel(await engine.submit({ webhook }));
    assert.deepEqual(await listEvents(engine), []);
    await register(engine, "task.cancelled");
    const id = await engine.submit({ webhook });
    await engine.cancel(id);
    const [event] = await listEvents(engine);
    assert.deepEqual([event?.type, event?.task_id, event?.webhook], ["task.cancelled", id, null]);
  });

  test("a task that is ended by force leaves its event too", async () => {
    await using engine = await open();
    const id = await engine.submit({ webhook });
    await failTask(
      engine.deps,
      { accountId: engine.caller.accountId, id },
      { code: "internal_error" },
    );
    assert.deepEqual(
      (await listEvents(engine)).map(({ type }) => type),
      ["task.failed"],
    );
  });

  test("the end of a task and its event are committed together or not at all", async () => {
    await using engine = await open();
    const { db, clock, caller, deps } = engine;
    const id = await engine.submit({ webhook });
    const before = await engine.find(id);
    const finish = (isKilled: boolean): Promise<void> =>
      db.transaction(async (tx) => {
        assert.ok(await lockQueueRow(tx, caller.accountId, id));
        const ended = await endSlots(tx, {
          task: before,
          ends: [{ slot: 0, state: "failed", error: { code: "no_image" } }],
          now: clock.now(),
          ...endingPorts(deps),
        });
        assert.ok(ended);
        if (isKilled) throw new Error("killed before the commit");
      });
    await assert.rejects(finish(true), /killed/);
    assert.equal((await engine.find(id)).state, "pending");
    assert.deepEqual(await listEvents(engine), []);
    await finish(false);
    assert.equal((await engine.find(id)).state, "failed");
    assert.equal((await listEvents(engine)).length, 1);
  });
});

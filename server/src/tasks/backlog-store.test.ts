import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachEngine, testModel } from "../../test/support/engine.ts";
import { countLanes } from "./backlog-store.ts";
import { laneOf } from "./task.ts";

onEachEngine((_name, open) => {
  test("open tasks are counted by lane and state", async () => {
    await using engine = await open();
    assert.deepEqual(await countLanes(engine.db.read), []);
    await engine.submit();
    const cancelled = await engine.submit();
    await engine.submit();
    await engine.submit({ model: `${testModel}-official` });
    await engine.cancel(cancelled);
    const counted = await countLanes(engine.db.read);
    const found = counted.filter(({ tasks }) => tasks > 0);
    assert.equal(counted.length, 2 * 3);
    assert.deepEqual(
      found.toSorted((a, b) => (a.lane < b.lane ? -1 : 1)),
      [
        { lane: laneOf(testModel, "live"), state: "ready", tasks: 2 },
        { lane: laneOf(`${testModel}-official`, "live"), state: "ready", tasks: 1 },
      ],
    );
  });
});

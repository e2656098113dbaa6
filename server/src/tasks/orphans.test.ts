import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "node:test";

import { onEachEngine } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import { colours, dataUri, paintPlain } from "../../test/support/pictures.ts";
import { systemRandom } from "../lib/random.ts";
import { dayMs, minuteMs } from "../lib/time.ts";
import { objectName } from "../storage/names.ts";
import { sweepOrphans } from "./orphans.ts";

const ageMs = dayMs;

function sweepAll(engine: TestEngine, owner = "a1"): Promise<string | null> {
  return sweepOrphans({ ...engine.deps, owner, ageMs }, null);
}

/** Objects get the time of the machine; the engine's clock is moved until they are that old. */
async function makeOlder(engine: TestEngine, thanMs: number): Promise<void> {
  await engine.clock.advance(Math.max(0, Date.now() - engine.clock.now()) + thanMs);
}

async function listObjects({ folder }: TestEngine): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && /^[a-z2-7]{32}$/.test(entry.name));
  return files.map(({ name }) => name).toSorted();
}

async function putOrphan(engine: TestEngine): Promise<string> {
  const name = objectName(systemRandom);
  await engine.storage.put(name, Buffer.from("left by a process that died"));
  return name;
}

onEachEngine((_name, open) => {
  test("objects that no row names go once they are old, and those of rows stay", async () => {
    await using engine = await open();
    const reference = await paintPlain({
      colour: colours.green,
      width: 64,
      height: 64,
      format: "png",
    });
    const id = await engine.submit({ image_urls: [dataUri(reference)] });
    const life = await engine.start();
    await engine.untilEnded(id);
    await life.stop();
    const named = await listObjects(engine);
    assert.equal(named.length, 2);
    const orphans = [await putOrphan(engine), await putOrphan(engine)];
    assert.equal(await sweepAll(engine), null);
    await makeOlder(engine, ageMs - 10 * minuteMs);
    await sweepAll(engine);
    assert.equal((await listObjects(engine)).length, 4);
    await makeOlder(engine, ageMs + 10 * minuteMs);
    await sweepAll(engine);
    assert.deepEqual(await listObjects(engine), named);
    assert.ok(!named.includes(orphans[0]!));
  });

  test("nothing is removed from a store that another installation has claimed", async () => {
    await using engine = await open();
    await engine.storage.claim("b2");
    const orphan = await putOrphan(engine);
    await makeOlder(engine, ageMs + minuteMs);
    assert.equal(await sweepAll(engine), null);
    assert.deepEqual(await listObjects(engine), [orphan]);
  });

  test("two nodes of one installation may sweep the same page", async () => {
    await using engine = await open();
    for (const _ of [1, 2, 3]) await putOrphan(engine);
    await makeOlder(engine, ageMs + minuteMs);
    await Promise.all([sweepAll(engine), sweepAll(engine)]);
    assert.deepEqual(await listObjects(engine), []);
  });
});

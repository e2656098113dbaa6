import assert from "node:assert/strict";
import { test } from "node:test";

import { createWatch } from "./watch.ts";

test("a listener hears of its own task only, of changes and ends apart, until it stops", () => {
  const watch = createWatch();
  const heard: string[] = [];
  const stop = watch.onChanged("task_1", () => heard.push("changed 1"));
  watch.onEnded("task_1", () => heard.push("ended 1"));
  watch.onChanged("task_2", () => heard.push("changed 2"));
  watch.changed("task_1");
  watch.ended("task_1");
  watch.changed("task_2");
  watch.changed("task_3");
  stop();
  watch.changed("task_1");
  assert.deepEqual(heard, ["changed 1", "ended 1", "changed 2"]);
});

test("every listener of a task hears, and one that stops leaves the others", () => {
  const watch = createWatch();
  const heard: number[] = [];
  const stops = [1, 2, 3].map((n) => watch.onChanged("task_1", () => heard.push(n)));
  stops[1]?.();
  stops[1]?.();
  watch.changed("task_1");
  assert.deepEqual(heard, [1, 3]);
});

test("a listener may stop while it is being told, and listen again later", () => {
  const watch = createWatch();
  let heard = 0;
  const stop = watch.onChanged("task_1", () => {
    heard += 1;
    stop();
  });
  watch.changed("task_1");
  watch.changed("task_1");
  watch.onChanged("task_1", () => (heard += 10));
  watch.changed("task_1");
  assert.equal(heard, 11);
});

test("stopping twice takes nothing from a listener that came between", () => {
  const watch = createWatch();
  let heard = 0;
  const stop = watch.onEnded("task_1", () => undefined);
  stop();
  watch.onEnded("task_1", () => (heard += 1));
  stop();
  watch.ended("task_1");
  assert.equal(heard, 1);
});

test("who listens to all tasks hears of every change, first", () => {
  const watch = createWatch();
  const heard: string[] = [];
  watch.onChanged("task_1", () => heard.push("one"));
  const stop = watch.onAnyChange((taskId) => heard.push(taskId));
  watch.changed("task_1");
  watch.changed("task_2");
  stop();
  watch.changed("task_3");
  assert.deepEqual(heard, ["task_1", "one", "task_2"]);
});

test("workers hear of every ready lane until they stop", () => {
  const watch = createWatch();
  const heard: string[] = [];
  const stop = watch.onReady((lane) => heard.push(lane));
  watch.ready("test:a");
  watch.ready("live:a");
  stop();
  watch.ready("test:a");
  assert.deepEqual(heard, ["test:a", "live:a"]);
});

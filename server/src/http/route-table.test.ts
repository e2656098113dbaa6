import assert from "node:assert/strict";
import test from "node:test";

import { createRouteTable } from "./route-table.ts";

test("the methods of a path are those of every pattern that matches it", () => {
  const routes = createRouteTable();
  routes.add("/v1/tasks/:id", ["GET", "HEAD"]);
  routes.add("/v1/tasks/batch", ["POST"]);
  routes.add("/", ["GET"]);
  assert.deepEqual(routes.methodsOf("/v1/tasks/task_1"), ["GET", "HEAD"]);
  assert.deepEqual(routes.methodsOf("/v1/tasks/batch"), ["GET", "HEAD", "POST"]);
  assert.deepEqual(routes.methodsOf("/"), ["GET"]);
  for (const path of ["/v1/tasks", "/v1/tasks/", "/v1/tasks/a/b", "/V1/tasks/a", "//", ""]) {
    assert.deepEqual(routes.methodsOf(path), [], path);
  }
});

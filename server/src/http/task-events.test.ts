import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request as open } from "node:http";
import type { TestContext } from "node:test";
import test from "node:test";
import { text } from "node:stream/consumers";

import { bearer, createTestServer, listen } from "../../test/support/http.ts";
import type { TestServer } from "../../test/support/http.ts";
import { createEventStreams } from "./event-streams.ts";
import type { EventStreams } from "./event-streams.ts";
import { registerTaskEvents } from "./task-events.ts";
import type { TaskView } from "./tasks.ts";

const taskId = "task_01K8SGYNNNVBQTXNR4MM964S7K";
const url = `/v1/tasks/${taskId}/events`;

type Setup = TestServer & {
  streams: EventStreams;
  /** Shows a view to everybody who follows. */
  show(view: TaskView | null): void;
  followers: Set<(view: TaskView | null) => void>;
  /** Resolves when this many follow. */
  untilFollowers(count: number): Promise<void>;
};

function viewOf(revision: number, ended = false, filler = ""): TaskView {
  return { json: JSON.stringify({ id: taskId, revision, filler }), ended, revision };
}

function setup(t: TestContext, current: TaskView | null): Setup {
  const server = createTestServer(t);
  const streams = createEventStreams(server.clock);
  const followers = new Set<(view: TaskView | null) => void>();
  const changed = new EventTarget();
  registerTaskEvents(server.app, {
    auth: server.auth,
    streams,
    readTask: () => Promise.resolve(current),
    followTask: (_input, follower) => {
      followers.add(follower);
      changed.dispatchEvent(new Event("change"));
      return () => {
        followers.delete(follower);
        changed.dispatchEvent(new Event("change"));
      };
    },
  });
  return {
    ...server,
    streams,
    followers,
    show: (view) => {
      for (const follower of followers) follower(view);
    },
    untilFollowers: async (count) => {
      while (followers.size !== count) await once(changed, "change");
    },
  };
}

async function connect(server: Setup, headers: Record<string, string> = {}) {
  const origin = server.app.server.listening
    ? `http://127.0.0.1:${(server.app.server.address() as { port: number }).port}`
    : await listen(server.app);
  const asked = open(`${origin}${url}`, { headers: { ...bearer, ...headers } });
  asked.on("error", () => undefined);
  asked.end();
  const [reply] = (await once(asked, "response")) as [IncomingMessage];
  return { asked, reply };
}

test("a stream tells every change with its revision as id, and ends with the task", async (t) => {
  const server = setup(t, viewOf(1));
  const { reply } = await connect(server);
  assert.equal(reply.statusCode, 200);
  assert.equal(reply.headers["content-type"], "text/event-stream; charset=utf-8");
  assert.equal(reply.headers["cache-control"], "no-store, no-transform");
  assert.equal(reply.headers["x-accel-buffering"], "no");
  assert.match(String(reply.headers["x-request-id"]), /^req_/);
  server.show(viewOf(1));
  server.show(viewOf(1));
  server.show(viewOf(3));
  server.show(viewOf(4, true));
  const events = [1, 3, 4].map(
    (id) => `id: ${id}\nevent: task\ndata: {"code":200,"data":${viewOf(id).json}}\n\n`,
  );
  assert.equal(await text(reply), `retry: 2000\n\n${events.join("")}`);
  assert.equal(server.followers.size, 0);
  assert.equal(server.streams.count, 0);
});

test("Last-Event-ID leaves out what the client has seen, and noise counts as nothing seen", async (t) => {
  const server = setup(t, viewOf(5));
  const seen = await connect(server, { "last-event-id": "5" });
  const noise = await connect(server, { "last-event-id": "-5x" });
  server.show(viewOf(5));
  server.show(viewOf(6, true));
  assert.deepEqual((await text(seen.reply)).match(/^id: .*$/gm), ["id: 6"]);
  assert.deepEqual((await text(noise.reply)).match(/^id: .*$/gm), ["id: 5", "id: 6"]);
});

test("who has seen the end is told with 204 not to come back, and an unknown task is 404", async (t) => {
  const ended = setup(t, viewOf(5, true));
  const headers = { ...bearer, "last-event-id": "5" };
  assert.equal((await ended.app.inject({ url, headers })).statusCode, 204);
  const none = await setup(t, null).app.inject({ url, headers });
  assert.equal(none.statusCode, 404);
  assert.equal(none.json().error.reason, "task_not_found");
  const head = await setup(t, viewOf(1)).app.inject({ method: "HEAD", url, headers });
  assert.equal(head.statusCode, 405);
});

test("a silent stream is kept alive with a comment every fifteen seconds, by one timer for all", async (t) => {
  const server = setup(t, viewOf(1));
  const connections = [await connect(server), await connect(server), await connect(server)];
  assert.equal(server.streams.count, 3);
  assert.equal(server.clock.waiting, 1);
  await server.clock.advance(31_000);
  server.show(null);
  for (const { reply } of connections) {
    assert.equal(await text(reply), "retry: 2000\n\n:\n\n:\n\n");
  }
  assert.equal(server.clock.waiting, 0, "no stream, no timer");
});

test("a client that vanishes leaves nothing behind", async (t) => {
  const server = setup(t, viewOf(1));
  const { asked } = await connect(server);
  await server.untilFollowers(1);
  asked.destroy();
  await server.untilFollowers(0);
  assert.equal(server.streams.count, 0);
  assert.equal(server.clock.waiting, 0);
});

test("a client that does not read is dropped, and the others go on", async (t) => {
  const server = setup(t, viewOf(1));
  const deaf = await connect(server);
  deaf.reply.pause();
  const { reply } = await connect(server);
  const read = text(reply);
  await server.untilFollowers(2);
  // More than the system buffers for a connection, in pieces that a reader takes in time.
  for (let id = 2; id < 200 && server.followers.size > 1; id += 1) {
    server.show(viewOf(id, false, "x".repeat(200_000)));
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await server.untilFollowers(1);
  server.show(viewOf(1_000, true));
  assert.match(await read, /"revision":1000/);
});

test("a client that has stopped reading in mid-event is dropped within a minute or so", async (t) => {
  const server = setup(t, viewOf(1));
  const { reply } = await connect(server);
  reply.pause();
  await server.untilFollowers(1);
  server.show(viewOf(2, false, "x".repeat(20_000_000)));
  await server.clock.advance(76_000);
  await server.untilFollowers(0);
});

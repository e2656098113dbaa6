/** `serve` as a process: its first start, its output, its signals, and what survives its end. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { SubmitReply } from "../../../client/src/submit.ts";
import { systemClock } from "../../src/lib/time.ts";
import { listChildIds, readCommandLine, testEnvironment } from "../support/app.ts";
import type { Settings } from "../support/app.ts";
import { createClient, download, exchange, until } from "../support/client.ts";
import { parseOnly, runCommand, runJson, startServer } from "../support/gateway-process.ts";
import type { ServerProcess } from "../support/gateway-process.ts";
import { colours, dataUri, paintPlain, pixelsOf, readPicture } from "../support/pictures.ts";

const body = {
  model: "gemini-3.1-flash-image-preview",
  resolution: "0.5K",
  size: "1:1",
  prompt: "A red fox",
};

const hasCurl = spawnSync("curl", ["--version"]).status === 0;

test("the first start makes folder, secret, account and key, and shows a picture", async (t) => {
  const folder = join(await makeFolder(t), "new", "data");
  const server = await start(t, folder);
  const output = await server.printed(/made through that API just now:\n\n {2}\S+\n\n$/);
  const [ready] = output.split("\n");
  assert.match(ready!, /^darkroom ready http:\/\/127\.0\.0\.1:\d+$/);
  assert.match(output, /account "default"/);
  assert.equal((await stat(folder)).mode & 0o777, 0o700);
  assert.equal((await stat(join(folder, "secret"))).mode & 0o777, 0o600);

  const token = tokenIn(output);
  const client = createClient(server.origin, token);
  assert.equal((await client.run(body)).status, "completed");

  const [link] = /http:\/\/\S+\/f\/\S+/.exec(output) ?? [];
  const picture = await readPicture((await download(link ?? "")).bytes);
  assert.deepEqual([pixelsOf(picture), picture.format], ["1376x768", "jpeg"]);

  const { accounts } = await runJson<{ accounts: { name: string }[] }>(folder, [
    "accounts",
    "list",
  ]);
  assert.deepEqual(
    accounts.map(({ name }) => name),
    ["default"],
  );
  assert.equal(server.stderr(), "");
});

test(
  "the curl lines of the first start work when they are pasted",
  { skip: !hasCurl },
  async (t) => {
    const server = await start(t, await makeFolder(t));
    const output = await server.printed(/just now:\n\n {2}\S+\n\n$/);
    const [submit, poll] = output.split("\n").filter((line) => line.startsWith("  curl "));
    const reply = parseOnly<SubmitReply>(`${await runShell(submit!)}\n`);
    assert.equal(reply.data[0].status, "submitted");
    const line = poll!.replace("TASK_ID", reply.data[0].task_id);
    const done = await until(
      async () => parseOnly<{ data: { status: string } }>(`${await runShell(line)}\n`).data,
      ({ status }) => status === "completed",
    );
    assert.equal(done.status, "completed");
  },
);

test("a later start says that it is ready and nothing else, and knows keys and tasks", async (t) => {
  const folder = await makeFolder(t);
  const first = await start(t, folder);
  const token = tokenIn(await first.printed(/just now:\n\n {2}\S+\n\n$/));
  const task = await createClient(first.origin, token).run(body);
  assert.equal(await stop(first), 0);

  const second = await start(t, folder);
  const client = createClient(second.origin, token);
  const read = await client.read(task.id);
  // The links begin with the address of the moment; everything else is what it was.
  const moved = JSON.stringify(task).replaceAll(first.origin, second.origin);
  assert.deepEqual(read, JSON.parse(moved));
  const { status } = await download(read.result!.images[0]!.url[0]!);
  assert.equal(status, 200);
  assert.equal(await stop(second), 0);
  assert.equal(second.stdout(), `darkroom ready ${second.origin}\n`);
});

test("SIGTERM ends the process with 0 and leaves no picture process; its tasks go on later", async (t) => {
  const folder = await makeFolder(t);
  const first = await start(t, folder);
  const token = tokenIn(await first.printed(/just now:\n\n {2}\S+\n\n$/));
  const client = createClient(first.origin, token);
  const slow = { ...body, n: 2, prompt: "fox [[slow:3s]]" };
  const { id } = await client.accept(slow, { "idempotency-key": "across-restarts" });
  await client.wait(id, ({ status }) => status === "processing");
  const children = await listChildIds(first.pid);
  assert.ok(children.length > 0 || process.platform !== "linux");
  assert.equal(await stop(first), 0);
  await assertGone(children);

  const second = await start(t, folder);
  const again = createClient(second.origin, token);
  const repeat = await again.submit(slow, { "idempotency-key": "across-restarts" });
  assert.equal(repeat.headers.get("idempotency-replayed"), "true");
  assert.equal(repeat.body.data[0].task_id, id);
  const task = await again.wait(id);
  assert.deepEqual([task.status, task.result?.images.length, task.cost], ["completed", 2, 0.09]);
  await assertLedger(folder);
});

test("a stop before the first picture is there complains of nothing", async (t) => {
  const server = await start(t, await makeFolder(t));
  await server.printed(/TASK_ID\n/);
  assert.equal(await stop(server), 0);
  assert.doesNotMatch(server.stderr(), /sample picture/);
});

test("the server of an npm that was told to stop stops in order too", async (t) => {
  const folder = await makeFolder(t);
  const environment = { ...process.env, ...testEnvironment(folder) };
  const npm = spawn("npm", ["start"], { env: environment, stdio: "pipe", detached: true });
  const ended = text(npm.stdout);
  const log = text(npm.stderr);
  t.after(() => killGroup(npm.pid));
  await once(npm.stdout, "data");
  await until(
    () =>
      stat(join(folder, "server.lock")).then(
        () => true,
        () => false,
      ),
    (isThere) => isThere,
  );
  npm.kill("SIGTERM");
  // The pipes are the server's too: they end with it.
  assert.match(await ended, /npm start|darkroom/);
  assert.match(await log, /"msg":"stopping"/);
});

test("after SIGKILL nothing accepted is lost, and no picture process stays behind", async (t) => {
  const folder = await makeFolder(t);
  const first = await start(t, folder);
  const token = tokenIn(await first.printed(/just now:\n\n {2}\S+\n\n$/));
  const client = createClient(first.origin, token);
  const accepted = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      client.accept({ ...body, prompt: `fox ${index} [[slow:${index % 3}s]]` }),
    ),
  );
  const children = await listChildIds(first.pid);
  first.kill("SIGKILL");
  assert.equal(await first.ended, "SIGKILL");
  await assertGone(children);

  const second = await start(t, folder);
  const again = createClient(second.origin, token);
  for (const { id } of accepted) assert.equal((await again.wait(id)).status, "completed");
  await assertLedger(folder);
});

test("a stop answers the request under way, and waits for no connection after it", async (t) => {
  const folder = await makeFolder(t);
  const server = await start(t, folder);
  const token = tokenIn(await server.printed(/just now:\n\n {2}\S+\n\n$/));
  const client = createClient(server.origin, token);
  const sent = JSON.stringify(body);
  const socket = connect(Number(new URL(server.origin).port), "127.0.0.1");
  t.after(() => socket.destroy());
  const head = [
    "POST /v1/images/generations HTTP/1.1",
    "Host: 127.0.0.1",
    `Authorization: Bearer ${token}`,
    "Content-Type: application/json",
    `Content-Length: ${sent.length}`,
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n${sent.slice(0, 20)}`);
  const reply = text(socket);
  // Idle connections stay open behind these, and the half of a request before them has arrived.
  await Promise.all([client.get("/v1/models"), client.get("/healthz")]);
  const begun = systemClock.monotonic();
  server.kill("SIGINT");
  await until(
    () =>
      fetch(`${server.origin}/readyz`).then(
        ({ status }) => status,
        () => 0,
      ),
    (status) => status === 503,
  );
  socket.write(sent.slice(20));
  assert.match(await reply, /^HTTP\/1\.1 200 .*"status":"submitted"/s);
  assert.equal(await server.ended, 0);
  assert.ok(systemClock.monotonic() - begun < 10_000);
});

test("a port that is taken ends the start with 1 and says so", async (t) => {
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, "127.0.0.1", resolve));
  t.after(() => holder.close());
  const { port } = holder.address() as AddressInfo;
  const settings: Settings = { DARKROOM_PORT: String(port) };
  const { code, stdout, stderr } = await runCommand(await makeFolder(t), ["serve"], settings);
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  assert.match(stderr, new RegExp(`${port}`));
  assert.match(stderr, /in use|EADDRINUSE/);
  assert.ok(!stderr.includes("    at "), stderr);
});

test("a database that cannot be reached ends the start with 1, in words, without its password", async (t) => {
  const settings: Settings = { DARKROOM_DATABASE_URL: "postgres://me:hunter2@127.0.0.1:1/x" };
  const { code, stdout, stderr } = await runCommand(await makeFolder(t), ["serve"], settings);
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  assert.match(
    stderr,
    /^the database cannot be reached: connection refused \(.*ECONNREFUSED.*\)\n$/,
  );
  assert.ok(!stderr.includes("hunter2"));
});

test("a role of its own needs a database that other nodes share", async (t) => {
  const sqlite: Settings = { DARKROOM_DATABASE_URL: "" };
  for (const [role, told] of [
    ["api", /DARKROOM_DATABASE_URL/],
    ["baker", /all, api, worker/],
  ] as const) {
    const args = ["serve", "--role", role];
    const { code, stderr } = await runCommand(await makeFolder(t), args, sqlite);
    assert.equal(code, 2, stderr);
    assert.match(stderr, told);
  }
});

test("no key, no picture and no link reaches the log, whatever is sent", async (t) => {
  const folder = await makeFolder(t);
  const server = await start(t, folder, { DARKROOM_LOG_LEVEL: "trace" });
  const token = tokenIn(await server.printed(/just now:\n\n {2}\S+\n\n$/));
  const client = createClient(server.origin, token);
  const green = await paintPlain({ colour: colours.green, width: 90, height: 90, format: "png" });
  const broken = Buffer.concat([green.subarray(0, 60), Buffer.alloc(400, "hostile")]);
  const unknown = `sk-live-${"Z".repeat(43)}`;

  const task = await client.run({ ...body, image_urls: [dataUri(green)], secret: dataUri(green) });
  const link = task.result!.images[0]!.url[0]!;
  await download(link);
  await download(link.replace(/.(?=\/[^/]*$)/, "A"));
  for (const bad of [
    { ...body, image_urls: [dataUri(broken)] },
    { ...body, size: dataUri(green) },
    { ...body, prompt: 7, key: token },
    { model: dataUri(green), prompt: "fox" },
    `{"model":"${token}","prompt":${dataUri(green)}`,
  ]) {
    assert.ok((await client.submit(bad)).status >= 400);
  }
  await client.run({ ...body, image_urls: [`http://127.0.0.1:1/?token=${token}`] });
  await client.run({ ...body, prompt: `${token} [[fail:internal_error]]` });
  for (const wrong of [unknown, `${token}x`])
    await createClient(server.origin, wrong).get("/v1/models");
  await client.get(`/v1/${token}`);
  await exchange(server.origin, `GET /${token} HTTP/9.9\r\n\r\n`);
  assert.equal(await stop(server), 0);

  const log = server.stderr();
  assert.ok(log.split("\n").length > 10, "the log has something to be looked at");
  for (const line of log.trim().split("\n")) assert.doesNotThrow(() => JSON.parse(line), line);
  const signature = /\.([\w-]{43})\//.exec(link)?.[1] ?? "";
  const secrets = [token, token.slice(12), unknown.slice(12), signature];
  for (const secret of [...secrets, ...pieces(green), ...pieces(broken)]) {
    assert.ok(!log.includes(secret), `${secret} is in the log:\n${findLine(log, secret)}`);
  }
  assert.equal(server.stdout().split(token).length - 1, 3);
  await assertLedger(folder);
});

async function makeFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-serve-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Starts a server that does not outlive its test. */
async function start(t: TestContext, folder: string, settings?: Settings): Promise<ServerProcess> {
  const server = await startServer(folder, settings);
  t.after(async () => {
    server.kill("SIGKILL");
    await server.ended;
  });
  return server;
}

function stop(server: ServerProcess): Promise<number | NodeJS.Signals> {
  server.kill("SIGTERM");
  return server.ended;
}

function tokenIn(output: string): string {
  const [token] = /sk-test-[A-Za-z0-9]{43}/.exec(output) ?? [];
  assert.ok(token !== undefined, output);
  return token;
}

function killGroup(pid: number | undefined): void {
  try {
    process.kill(-(pid ?? 0), "SIGKILL");
  } catch {
    // It has ended as a whole.
  }
}

/** Runs a line as a person would paste it. */
function runShell(line: string): Promise<string> {
  const shell = spawn("sh", ["-c", line], { stdio: ["ignore", "pipe", "ignore"] });
  return text(shell.stdout);
}

async function assertGone(pids: readonly number[]): Promise<void> {
  await until(
    () => Promise.all(pids.map(readCommandLine)),
    (lines) => lines.every((line) => !line.includes("child.ts")),
  );
}

async function assertLedger(folder: string): Promise<void> {
  const report = await runJson<{ ok: boolean; ledger: { ok: boolean } }>(folder, ["doctor"]);
  assert.deepEqual([report.ok, report.ledger.ok], [true, true]);
}

/** Parts of a picture's base64 that are long enough to be no accident. */
function pieces(bytes: Buffer): string[] {
  const base64 = bytes.toString("base64");
  return Array.from({ length: Math.floor(base64.length / 40) }, (_, index) =>
    base64.slice(index * 40, index * 40 + 24),
  );
}

function findLine(log: string, secret: string): string {
  return log.split("\n").find((line) => line.includes(secret)) ?? "";
}

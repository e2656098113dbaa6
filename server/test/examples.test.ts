/**
 * Every program of `examples/`, as its reader runs it, against a live gateway and a sandbox key; and what
 * each does when the other side misbehaves, against a stand-in that can be told to.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import type { IncomingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, suite, test } from "node:test";
import type { TestContext } from "node:test";

import { Webhook } from "standardwebhooks";

import type { BalanceReply } from "../../client/src/balance.ts";
import type { Task } from "../../client/src/tasks.ts";
import { systemClock } from "../src/lib/time.ts";
import { startGateway } from "./support/app.ts";
import type { Gateway } from "./support/app.ts";
import type { Client } from "./support/client.ts";
import { download } from "./support/client.ts";
import { pixelsOf, readPicture } from "./support/pictures.ts";
import { startReceiver } from "./support/receiver.ts";
import type { Receiver } from "./support/receiver.ts";

const folder = resolve(import.meta.dirname, "../../examples");
const programs = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((path) => /\.(?:ts|py|sh)$/.test(path))
  .toSorted();

/** What runs the programs of a folder, and what else they need. */
const runners: Record<string, { command: string; needs: readonly string[] }> = {
  typescript: { command: process.execPath, needs: [] },
  python: { command: "python3", needs: ["python3"] },
  curl: { command: "bash", needs: ["bash", "curl", "jq"] },
};
const programEndsWithinMs = 60_000;

function runnerOf(program: string) {
  const runner = runners[dirname(program)];
  assert.ok(runner !== undefined, `nobody knows how to run ${program}`);
  return runner;
}

const missing = new Set(
  Object.values(runners)
    .flatMap(({ needs }) => needs)
    .filter((command) => spawnSync(command, ["--version"]).status !== 0),
);

/** Why a program cannot run here; false when it can. */
function skipOf(program: string): string | false {
  const absent = runnerOf(program).needs.filter((command) => missing.has(command));
  return absent.length > 0 && `needs ${absent.join(" and ")}, which this machine does not have`;
}

type Run = { code: number | null; stdout: string; stderr: string; folder: string };

/** Runs a program in an empty folder to its end. */
async function run(
  t: TestContext,
  program: string,
  environment: Record<string, string>,
): Promise<Run> {
  const cwd = await mkdtemp(join(tmpdir(), "darkroom-example-"));
  t.after(() => rm(cwd, { recursive: true, force: true }));
  const child = spawn(runnerOf(program).command, [join(folder, program)], {
    cwd,
    env: { PATH: process.env["PATH"] ?? "", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: programEndsWithinMs,
    killSignal: "SIGKILL",
  });
  const ended = new Promise<number | null>((settle, fail) => {
    child.once("error", fail);
    child.once("close", settle);
  });
  const [code, stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  return { code, stdout, stderr, folder: cwd };
}

async function readSaved({ folder: cwd, stdout }: Run, name: string): Promise<string> {
  assert.match(stdout, new RegExp(`^saved ${name}\\b`, "m"));
  const picture = await readPicture(await readFile(join(cwd, name)));
  return `${pixelsOf(picture)} ${picture.format}`;
}

async function assertLink({ stdout }: Run): Promise<void> {
  const [link] = /^http\S+\/f\/\S+$/m.exec(stdout) ?? [];
  assert.equal((await download(link ?? "")).headers.get("content-type"), "image/jpeg");
}

/** What must be true when a program has run to its end, by its name without the ending. */
const proofs: Record<string, (run: Run, client: Client) => Promise<void>> = {
  generate: async (done) => {
    assert.equal(await readSaved(done, "fox.jpg"), "512x512 jpeg");
    assert.match(done.stdout, /for 0\.045 USD$/m);
  },
  references: async (done) => {
    assert.match(done.stdout, /^uploaded mug\.png, \d{4} bytes$/m);
    assert.equal(await readSaved(done, "beach.jpg"), "512x512 jpeg");
  },
  batch: async ({ stdout }, client) => {
    assert.match(stdout, /^submitted 20 tasks$/m);
    assert.match(stdout, /^done for 0\.9(?:00)? USD, 0 failed$/m);
    assert.equal(stdout.match(/: completed, http\S+$/gm)?.length, 20);
    const { data } = (await client.get<{ data: Task[] }>("/v1/tasks?limit=100")).body;
    assert.deepEqual(
      data.map(({ status }) => status),
      Array.from({ length: 20 }, () => "completed"),
    );
  },
  events: async (done) => {
    assert.match(done.stdout, /^task_\w{26} is completed, 100 %$/m);
    await assertLink(done);
  },
  webhook: async (done) => {
    assert.match(done.stdout, /^verified: task_\w{26} completed$/m);
    await assertLink(done);
  },
  openai: async (done) => {
    assert.equal(await readSaved(done, "fox.png"), "1024x1024 png");
    assert.equal(await readSaved(done, "beach.png"), "1024x1024 png");
  },
  errors: async ({ stdout }, client) => {
    for (const refusal of [
      "400 invalid_parameter",
      "401 invalid_api_key",
      "402 insufficient_balance",
      "429 rate_limited",
      "503 idempotency_unavailable",
    ]) {
      assert.match(stdout, new RegExp(`: refused with ${refusal}$`, "m"));
    }
    assert.match(stdout, /^the failure content_policy_violation: failed, 0 pictures, 0 USD$/m);
    assert.match(stdout, /^one picture of two: completed, 1 pictures, 0\.045 USD$/m);
    const { data } = (await client.get<{ data: Task[] }>("/v1/tasks?limit=100")).body;
    const charged = data.reduce((sum, { cost }) => sum + Math.round(cost * 1_000), 0);
    const balance = await client.get<BalanceReply>("/v1/balance");
    assert.equal(Math.round(balance.body.used_balance * 1_000), charged);
  },
};

suite("examples against a live gateway", { concurrency: 4 }, () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await startGateway();
  });
  after(() => gateway.stop());

  for (const program of programs) {
    test(`${program} does what it says`, { skip: skipOf(program) }, async (t) => {
      // An account for each, so that lists and balances hold its own tasks only.
      const accountId = await gateway.createAccount(program.replaceAll(/\W/g, "-"));
      const client = await gateway.connect({ accountId });
      const done = await run(t, program, {
        DARKROOM_URL: gateway.origin,
        DARKROOM_KEY: client.token ?? "",
      });
      assert.deepEqual([done.code, done.stderr], [0, ""], done.stdout);
      const prove = proofs[basename(program).replace(/\.\w+$/, "")];
      assert.ok(prove !== undefined, `nothing proves ${program}`);
      await prove(done, client);
    });

    test(`${program} says what is missing without a key`, { skip: skipOf(program) }, async (t) => {
      const { code, stderr } = await run(t, program, { DARKROOM_URL: gateway.origin });
      assert.equal(code, 1);
      assert.match(stderr, /DARKROOM_KEY:? is not set; give it an API key/);
    });
  }

  for (const program of named("generate")) {
    test(`${program} shows the gateway's message when it is refused`, async (t) => {
      const { code, stderr } = await run(t, program, {
        DARKROOM_URL: gateway.origin,
        DARKROOM_KEY: "sk-test-unknown",
      });
      assert.equal(code, 1);
      assert.match(stderr, /HTTP 401: the API key is unknown/);
    });
  }
});

/** The programs of that name that can run here, in every language. */
function named(name: string): string[] {
  const found = programs.filter((path) => basename(path).replace(/\.\w+$/, "") === name);
  assert.ok(found.length > 0);
  return found.filter((program) => skipOf(program) === false);
}

const taskId = `task_${"0".repeat(26)}`;
const submitReply = (id: string) =>
  JSON.stringify({ code: 200, data: [{ status: "submitted", task_id: id }] });

function taskOf(id: string, status: "processing" | "completed") {
  const images = [{ url: [`http://pictures.example/${id}.jpg`] }];
  const result = status === "completed" ? { result: { images } } : {};
  return { id, status, progress: status === "completed" ? 100 : 40, cost: 0.045, ...result };
}

async function startStandIn(t: TestContext): Promise<Receiver> {
  const standIn = await startReceiver();
  t.after(() => standIn.stop());
  return standIn;
}

const environmentOf = ({ origin }: Receiver) => ({
  DARKROOM_URL: origin,
  DARKROOM_KEY: "sk-test-x",
});

// Most of the time these wait, as they would for a vendor.
suite("examples against a stand-in", { concurrency: 4 }, () => {
  for (const program of named("events")) {
    test(`${program} goes on after the last event it saw when its stream breaks off`, async (t) => {
      const standIn = await startStandIn(t);
      const askedAfter: (string | undefined)[] = [];
      standIn.answerWith((response, { path, headers }) => {
        if (!path.endsWith("/events")) return response.end(submitReply(taskId));
        askedAfter.push(headers["last-event-id"]?.toString());
        const status = askedAfter.length === 1 ? "processing" : "completed";
        const data = JSON.stringify({ code: 200, data: taskOf(taskId, status) });
        response.writeHead(200, { "content-type": "text/event-stream" });
        const event = `id: ${6 + askedAfter.length}\nevent: task\ndata: ${data}\n\n`;
        response.write(`retry: 10\n\n: beat\n\n${event}`, () => response.destroy());
      });
      const { code, stdout, stderr } = await run(t, program, environmentOf(standIn));
      assert.deepEqual([code, stderr], [0, ""], stdout);
      assert.deepEqual(askedAfter, [undefined, "7"]);
      assert.match(
        stdout,
        /is processing, 40 %\n.*broke off after event 7.*\n.*is completed, 100 %/,
      );
    });
  }

  for (const program of named("batch")) {
    test(`${program} repeats a submit that is over a limit, under its own key`, async (t) => {
      const standIn = await startStandIn(t);
      const keys: IncomingHttpHeaders[string][] = [];
      standIn.answerWith((response, { path, headers, body }) => {
        if (path.startsWith("/v1/tasks?")) return response.end('{"code":200,"data":[]}');
        if (path === "/v1/tasks/batch") {
          // The stand-in is asked by the program under test alone.
          const { task_ids: ids } = JSON.parse(body) as { task_ids: string[] };
          const data = ids.map((id) => taskOf(id, "completed"));
          return response.end(JSON.stringify({ code: 200, data }));
        }
        keys.push(headers["idempotency-key"]);
        if (keys.length > 1) return response.end(submitReply(`task_${keys.length}`));
        response.writeHead(429, { "retry-after": "1" });
        return response.end('{"error":{"code":429,"message":"too many requests"}}');
      });
      const { code, stdout, stderr } = await run(t, program, environmentOf(standIn));
      assert.deepEqual([code, stderr], [0, ""], stdout);
      assert.equal(keys.length, 21);
      assert.equal(
        new Set(keys).size,
        20,
        "a repeated submit is the same order, and others are not",
      );
      assert.ok(keys.indexOf(keys[0], 1) > 0);
      assert.match(stdout, /^done for 0\.9(?:00)? USD, 0 failed$/m);
    });
  }

  for (const program of named("webhook")) {
    test(`${program} believes no call but one that is signed, whole and recent`, async (t) => {
      const standIn = await startStandIn(t);
      const secret = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
      const statuses: number[] = [];
      standIn.answerWith((response, { path, body }) => {
        if (path === "/v1/webhooks/secret") {
          return response.end(JSON.stringify({ code: 200, data: { secret } }));
        }
        // The stand-in is asked by the program under test alone.
        const { webhook } = JSON.parse(body) as { webhook: string };
        return void deliverAll(`${webhook}/callback`, secret)
          .then((all) => statuses.push(...all))
          .finally(() => response.end(submitReply(taskId)));
      });
      const { code, stdout, stderr } = await run(t, program, environmentOf(standIn));
      assert.deepEqual([code, stderr], [0, ""], stdout);
      assert.deepEqual(statuses, [401, 401, 401, 401, 204, 204]);
      assert.match(stdout, new RegExp(`^verified: ${taskId} completed$`, "m"));
      assert.doesNotMatch(stdout, /forged/);
    });
  }
});

/** The statuses that a receiver answers with to four forged calls, to a true one, and to its repeat. */
async function deliverAll(url: string, secret: string): Promise<number[]> {
  const now = Math.floor(systemClock.now() / 1_000);
  const body = JSON.stringify(taskOf(taskId, "completed"));
  const forged = JSON.stringify({ ...taskOf(taskId, "completed"), id: "task_forged" });
  const other = `whsec_${Buffer.alloc(32, 8).toString("base64")}`;
  const send = async (sent: string, headers: Record<string, string>): Promise<number> =>
    (await fetch(url, { method: "POST", headers, body: sent })).status;
  const signed = (by: string, seconds: number) => {
    const signature = new Webhook(by).sign("evt_1", new Date(seconds * 1_000), body);
    return {
      "webhook-id": "evt_1",
      "webhook-timestamp": String(seconds),
      "webhook-signature": signature,
    };
  };
  const right = signed(secret, now);
  const both = `${signed(other, now)["webhook-signature"]} ${right["webhook-signature"]}`;
  return [
    await send(forged, {}),
    await send(body, signed(other, now)),
    await send(forged, right),
    await send(body, signed(secret, now - 3_600)),
    await send(body, { ...right, "webhook-signature": both }),
    await send(body, right),
  ];
}

test("every example is listed, and imports nothing of ours", () => {
  const list = readFileSync(join(folder, "README.md"), "utf8");
  assert.ok(programs.length >= 19);
  for (const program of programs) {
    assert.ok(list.includes(`(${program})`), `${program} is not in examples/README.md`);
    const source = readFileSync(join(folder, program), "utf8");
    for (const [, target = ""] of source.matchAll(/\bfrom "([^"]+)"/g)) {
      assert.match(target, /^(?:node:.+|openai)$/, program);
    }
  }
});

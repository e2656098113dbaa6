/** Channels through the operator's command line, beside a running server and against emulated vendors. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { clearFault, saveFault } from "../../src/channels/faults.ts";
import { emulatedBflKey, startBflEmulator } from "../emulators/bfl.ts";
import type { BflEmulator } from "../emulators/bfl.ts";
import { startComfyuiEmulator } from "../emulators/comfyui.ts";
import { emulatedOpenAiKey, startOpenAiEmulator } from "../emulators/openai.ts";
import type { OpenAiEmulator } from "../emulators/openai.ts";
import { startGateway } from "../support/app.ts";
import { until } from "../support/client.ts";
import type { Gateway } from "../support/app.ts";
import { parseOnly, runCommand, runJson } from "../support/gateway-process.ts";
import type { CommandResult } from "../support/gateway-process.ts";

type Shown = {
  name: string;
  state: string;
  models: { model: string; upstream_model: string }[];
  warnings: string[];
  [field: string]: unknown;
};
type Tested = { name: string; ok: boolean; detail: string; advice?: string; warnings: string[] };

const wrongKey = "sk-wrong-key-0123456789abcdef";

let gateway: Gateway;
let openAi: OpenAiEmulator;
let bfl: BflEmulator;
/** Everything that commands have printed: no key may be in it. */
let printed = "";

before(async () => {
  openAi = await startOpenAiEmulator();
  bfl = await startBflEmulator();
  // The server knows one vendor from its environment.
  gateway = await startGateway({ BFL_API_KEY: emulatedBflKey, BFL_BASE_URL: bfl.origin });
});

after(async () => {
  await gateway.stop();
  await openAi.stop();
  await bfl.stop();
  for (const key of [emulatedOpenAiKey, emulatedBflKey, wrongKey]) {
    assert.ok(!printed.includes(key), "a key was printed");
  }
});

async function run(
  args: readonly string[],
  settings: Record<string, string> = {},
  input = "",
): Promise<CommandResult> {
  const result = await runCommand(gateway.folder, args, settings, input);
  printed += result.stdout + result.stderr;
  return result;
}

async function runForJson<Body>(args: readonly string[], settings?: Record<string, string>) {
  const result = await runJson<Body>(gateway.folder, args, settings);
  printed += JSON.stringify(result);
  return result;
}

function addOpenAi(name: string, key: string, ...more: string[]): Promise<Shown> {
  const words = `channels add ${name} --provider openai --key-env VENDOR_KEY`.split(" ");
  const settings = { VENDOR_KEY: key };
  return runForJson([...words, "--base-url", openAi.baseUrl, ...more], settings);
}

async function testChannel(
  name: string,
  settings: Record<string, string> = {},
): Promise<Tested & { code: number | null }> {
  const { code, stdout, stderr } = await run(["channels", "test", name, "--json"], settings);
  assert.equal(stderr, "");
  return { ...parseOnly<Tested>(stdout), code };
}

async function find(name: string): Promise<Shown> {
  const { channels } = await runForJson<{ channels: Shown[] }>(["channels", "list"]);
  const found = channels.find((channel) => channel.name === name);
  assert.ok(found, name);
  return found;
}

test("a channel that is added with everything is listed with everything but its key", async () => {
  const more =
    "--models gpt-image-1-official=gpt-image-1,gpt-image-2.5-flare --tiers official --priority=-3 " +
    "--weight 5 --cost-ratio 0.85 --caps *=4,gpt-image-1=2 --timeout 90 --unknown-outcome retry_once " +
    '--allow 10.1.0.0/16 --settings {"organization":"org-of-the-operator"}';
  const { warnings, created, updated, ...shown } = await addOpenAi(
    "full",
    emulatedOpenAiKey,
    ...more.split(" "),
  );
  assert.deepEqual(warnings, [
    "gpt-image-1-official: gpt-image-1 was shut down by its vendor on 2026-10-23; use gpt-image-2.5-flare",
  ]);
  assert.equal(created, updated);
  assert.deepEqual(shown, {
    name: "full",
    provider: "openai",
    source: "operator",
    state: "ready",
    base_url: openAi.baseUrl,
    key: "set",
    key_hint: emulatedOpenAiKey.slice(-4),
    models: [
      { model: "gpt-image-1-official", upstream_model: "gpt-image-1" },
      { model: "gpt-image-2.5-flare", upstream_model: "gpt-image-2.5-flare" },
    ],
    tiers: ["official"],
    priority: -3,
    weight: 5,
    cost_ratio: 0.85,
    caps: { "*": 4, "gpt-image-1": 2 },
    timeout_seconds: 90,
    unknown_outcome: "retry_once",
    allow: ["10.1.0.0/16"],
    settings: ["organization"],
  });
  assert.deepEqual(await find("full"), { ...shown, warnings, created, updated });
  const health = await testChannel("full");
  assert.deepEqual([health.ok, health.warnings.length], [true, 2]);
  assert.match(health.warnings.join("\n"), /the upstream does not list gpt-image-1;/);
});

test("the server's environment has made its channel", async () => {
  const channel = await find("bfl");
  assert.deepEqual(
    [channel["source"], channel.state, channel.models.length],
    ["environment", "ready", 4],
  );
  const health = await testChannel("bfl");
  assert.deepEqual([health.ok, health.code], [true, 0]);
  assert.match(health.detail, /credits/);
});

test("a key can come from a file or from standard input", async () => {
  const file = join(gateway.folder, "vendor-key");
  await writeFile(file, `${emulatedOpenAiKey}\n`, { mode: 0o600 });
  const words = ["--provider", "openai", "--base-url", openAi.baseUrl];
  const byFile = await run(["channels", "add", "by-file", ...words, "--key-file", file]);
  assert.equal(byFile.code, 0, byFile.stderr);
  assert.match(byFile.stdout, /^channel by-file serves .*\nnext: channels test by-file\n$/);
  const byInput = ["channels", "add", "by-input", ...words, "--key-stdin"];
  assert.equal((await run(byInput, {}, `${emulatedOpenAiKey}\n`)).code, 0);
  for (const name of ["by-file", "by-input"]) assert.equal((await testChannel(name)).ok, true);
});

describe("channels test says what is wrong, and what to do:", () => {
  test("a key that the vendor does not take", async () => {
    await addOpenAi("wrong", wrongKey);
    const { ok, code, detail, advice } = await testChannel("wrong");
    assert.deepEqual([ok, code], [false, 1]);
    assert.match(detail, /401/);
    assert.match(advice ?? "", /channels add wrong --provider openai --replace/);
    const text = await run(["channels", "test", "wrong"]);
    assert.match(text.stdout, /^channel wrong does not work: .*401.*\nnext: /);
  });

  test("an account of the environment", async () => {
    bfl.set({ credits: 0 });
    const { ok, advice } = await testChannel("bfl");
    bfl.set({ credits: 100_000 });
    assert.equal(ok, false);
    assert.match(advice ?? "", /BFL_API_KEY and BFL_BASE_URL/);
  });

  test("a host that does not answer", async () => {
    // A port that nobody listens on: taken, and given back.
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    await addOpenAi("dead", emulatedOpenAiKey, "--base-url", `http://127.0.0.1:${port}/v1`);
    const { ok, detail } = await testChannel("dead");
    assert.equal(ok, false);
    assert.match(detail, /ECONNREFUSED|no connection|connect/);
  });

  test("a private host that nothing allows", async () => {
    await addOpenAi("private", emulatedOpenAiKey);
    const closed = await testChannel("private", { DARKROOM_EGRESS_ALLOW: "" });
    assert.equal(closed.ok, false);
    assert.match(closed.detail, /base URL names an address that is not on the public internet/);
    assert.match(closed.advice ?? "", /--allow CIDR .* DARKROOM_EGRESS_ALLOW/);
    await addOpenAi("private", emulatedOpenAiKey, "--replace", "--allow", "127.0.0.1");
    const open = await testChannel("private", { DARKROOM_EGRESS_ALLOW: "" });
    assert.equal(open.ok, true, open.detail);
  });

  test("at the time a private host is added, too", async () => {
    const words =
      "channels add early --provider bfl --key-env VENDOR_KEY --base-url http://10.9.8.7";
    const settings = { VENDOR_KEY: emulatedBflKey, DARKROOM_EGRESS_ALLOW: "" };
    const { warnings } = await runForJson<Shown>(words.split(" "), settings);
    assert.match(warnings.join(), /not on the public internet; to allow it, give --allow CIDR/);
  });
});

test("a channel that works again loses its fault by the test", async () => {
  const { db, clock } = gateway.installation;
  await addOpenAi("faulted", emulatedOpenAiKey);
  const fault = { name: "faulted", kind: "exhausted", reason: "HTTP 429 no credit" } as const;
  await db.transaction((tx) => saveFault(tx, { ...fault, now: clock.now() }));
  assert.equal((await find("faulted")).state, "exhausted");
  const list = await run(["channels", "list"]);
  assert.match(list.stdout, /^faulted is refused \(exhausted\): HTTP 429 no credit; tried again/m);
  assert.equal((await testChannel("faulted")).ok, true);
  assert.equal((await find("faulted")).state, "ready");
});

test("a ComfyUI server is added with its workflows from a file", async () => {
  const comfyui = await startComfyuiEmulator();
  try {
    const file = join(gateway.folder, "workflows.json");
    const workflow = {
      graph: { "6": { class_type: "CLIPTextEncode", inputs: { text: "" } } },
      bindings: { prompt: { node: "6", input: "text" } },
    };
    await writeFile(file, JSON.stringify({ workflows: workflow }));
    const words = `channels add own --provider comfyui --base-url ${comfyui.origin} --models flux-2-pro=flux.2-dev`;
    const { settings } = await runForJson<Shown>([...words.split(" "), "--settings", `@${file}`]);
    assert.deepEqual(settings, ["workflows"]);
    const { ok, detail } = await testChannel("own");
    assert.equal(ok, true, detail);
    const bindings = { prompt: { node: "7", input: "text" } };
    await writeFile(file, JSON.stringify({ workflows: { ...workflow, bindings } }));
    const bad = await run([...words.replace("own", "bad").split(" "), "--settings", `@${file}`]);
    assert.deepEqual([bad.code, bad.stdout], [1, ""]);
    assert.match(bad.stderr, /bindings\.prompt: the graph has no node "7"/);
  } finally {
    await comfyui.stop();
  }
});

describe("a wrong command line ends with 2, what is refused with 1, and neither repeats a key:", () => {
  const base = "channels add x --provider openai";
  const cases: [name: string, line: string, code: number, words: RegExp][] = [
    ["no provider", "channels add x", 2, /--provider is missing/],
    ["a variable that is not set", `${base} --key-env ${wrongKey}`, 2, /--key-env takes the name/],
    ["two keys", `${base} --key-env A --key-stdin`, 2, /only one of --key-env/],
    ["a file that is not there", `${base} --key-file /nonexistent`, 2, /cannot be read: ENOENT/],
    ["a key on the line", `${base} --key ${wrongKey}`, 2, /--key/],
    ["settings that are no object", `${base} --settings []`, 2, /--settings is not a JSON object/],
    ["models of no form", `${base} --models a=b=c`, 2, /--models "a=b=c"/],
    ["caps of no form", `${base} --caps 24`, 2, /--caps "24"/],
    ["a cap given twice", `${base} --caps *=1,*=2`, 2, /--caps "\*" stands there twice/],
    ["a time limit of none", `${base} --timeout 0`, 1, /^--timeout .*give 1 to 86400 seconds/],
    [
      "a cost ratio out of range",
      `${base} --cost-ratio 2000`,
      1,
      /^--cost-ratio "2000" .*0 to 1000/,
    ],
    [
      "a ComfyUI without workflows",
      "channels add x --provider comfyui --base-url http://10.1.2.3:8188 --models flux-2-pro",
      1,
      /settings\.workflows: give a workflow/,
    ],
    ["a tier that is none", `${base} --tiers cheap`, 2, /--tiers "cheap"/],
    ["no key", base, 1, /needs a key; give --key-env/],
    ["a provider that is none", "channels add x --provider y", 1, /use one of openai, gemini/],
    ["a model of somebody else", `${base} --models flux-2-pro`, 1, /cannot be served by openai/],
    ["a channel that is not there", "channels test nothing", 1, /see "channels list"/],
    ["one that is not there either", "channels disable nothing", 1, /see "channels list"/],
  ];
  for (const [name, line, code, words] of cases) {
    test(name, async () => {
      const result = await run(line.split(" "));
      assert.deepEqual([result.code, result.stdout], [code, ""], result.stderr);
      assert.match(result.stderr, words);
      assert.ok(!result.stderr.includes("    at "), result.stderr);
    });
  }
});

test("a running server serves a model as soon as a channel for it is there, and pauses with it", async () => {
  const other = await startGateway();
  try {
    const command = (line: string, settings?: Record<string, string>) =>
      runJson<Shown>(other.folder, line.split(" "), settings);
    await command("accounts credit default 5 --note funds");
    const caller = await other.connect({ mode: "live" });
    const body = { model: "gpt-image-2.5-flare", prompt: "fox", size: "1:1", quality: "low" };
    const refusal = await caller.refuse(body);
    assert.deepEqual([refusal.status, refusal.reason], [503, "no_channel"]);

    const words = `channels add served --provider openai --key-env K --base-url ${openAi.baseUrl}`;
    await command(words, { K: emulatedOpenAiKey });
    const billed = openAi.billed.length;
    assert.equal((await caller.run(body)).status, "completed");
    assert.equal(openAi.billed.length, billed + 1);

    const disabled = await command("channels disable served --reason moving");
    assert.equal(disabled.state, "disabled");
    assert.equal((disabled["disabled"] as { reason: string }).reason, "moving");
    assert.equal((await command("channels enable served")).state, "ready");
    assert.equal((await caller.run(body)).status, "completed");
  } finally {
    await other.stop();
  }
});

test("a channel whose fault has just ended is asked before a task is given up", async () => {
  const settings = { OPENAI_API_KEY: emulatedOpenAiKey, OPENAI_BASE_URL: openAi.baseUrl };
  const other = await startGateway(settings);
  try {
    const { db, clock } = other.installation;
    await runJson(other.folder, "accounts credit default 5 --note funds".split(" "));
    const caller = await other.connect({ mode: "live" });
    const body = { model: "gpt-image-2.5-flare", prompt: "fox", size: "1:1", quality: "low" };
    const fault = { name: "openai", kind: "exhausted", reason: "empty", now: clock.now() } as const;
    const refused = await until(
      async () => {
        // Anew each time: a task that was under way when it came ends it by its success.
        await db.transaction((tx) => saveFault(tx, fault));
        return caller.run(body);
      },
      ({ status }) => status === "failed",
    );
    assert.equal(refused.error?.code, "provider_unavailable");
    // The server has just seen the fault, and looks at the rows by itself only now and then.
    await db.transaction((tx) => clearFault(tx, "openai"));
    assert.equal((await caller.run(body)).status, "completed");
  } finally {
    await other.stop();
  }
});

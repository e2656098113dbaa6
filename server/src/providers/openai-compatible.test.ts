import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { adapterConformance } from "../../test/contracts/adapter.ts";
import { callAt, referenceOf, startMs } from "../../test/contracts/adapter-driver.ts";
import { startCompatibleEmulator } from "../../test/emulators/openai-compatible.ts";
import type { CompatibleProfile } from "../../test/emulators/openai-compatible.ts";
import { readForm } from "../../test/emulators/vendor-server.ts";
import type { RecordedRequest } from "../../test/emulators/vendor-server.ts";
import errors from "../../test/fixtures/openai-compatible/errors.json" with { type: "json" };
import { catJob, createTestSend } from "../../test/support/adapters.ts";
import { colours, paintMask, paintPlain } from "../../test/support/pictures.ts";
import { ProviderError } from "./adapter.ts";
import type { FailureKind, Picture, Step } from "./adapter.ts";
import { compatibleProfiles } from "./openai-compatible-profiles.ts";
import type { Quirks } from "./openai-compatible-profiles.ts";
import { createOpenAiCompatible } from "./openai-compatible.ts";

const apiKey = "local-server-key-0001";
const png = await paintPlain({ colour: colours.red, width: 64, height: 64, format: "png" });
const profiles = ["localai", "sglang", "vllm-omni", "sd-server", "ollama"] as const;

// The suite needs a route for references, which Ollama lacks.
for (const profile of profiles.filter((name) => name !== "ollama")) {
  adapterConformance(`openai-compatible (${profile})`, async () => {
    const { emulator, create, close } = await start(profile);
    let asked = 0;
    return {
      create,
      job: catJob,
      reference: png,
      // Seeds of our own differ from attempt to attempt.
      isDeterministic: compatibleProfiles[profile].seedField === null,
      secrets: [apiKey],
      worksBegun: () => emulator.worked.length,
      faults: [],
      hangs: [
        {
          verb: "submit",
          arrange: () => {
            asked = emulator.requests.length;
            emulator.set({ reply: { kind: "hang" } });
            return catJob({});
          },
          reached: () => emulator.untilAsked(asked + 1),
          kind: "lost",
        },
      ],
      close,
    };
  });
}

test("each server's errors end in their kinds", async (context) => {
  for (const profile of profiles) {
    const { emulator, create } = await startFor(context, profile);
    for (const { name, servers, status, body, kind } of errors) {
      if (!servers.includes(profile)) continue;
      emulator.set({ refusal: { status, body } });
      const pending = create().submit(catJob({}), callAt(startMs, "att_1"));
      // A row of the fixture names a kind.
      await assert.rejects(pending, fails(kind as FailureKind), name);
    }
  }
});

test("only what every server understands is sent, and what the quirks name", async (context) => {
  const parameters = {
    quality: "high",
    background: "opaque",
    output_format: "png",
    output_compression: 5,
  };
  const bodies = await bodiesOf(
    context,
    catJob({ parameters, slots: [0, 1], upstreamModel: "dreamer" }),
  );
  const common = { model: "dreamer", prompt: "a cat", size: "1024x1024" };
  const usual = { ...common, n: 2, response_format: "b64_json" };
  const { seed } = bodies.sglang as { seed: number };
  assert.ok(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 31);
  assert.deepEqual(bodies, {
    localai: usual,
    sglang: { ...usual, seed },
    "vllm-omni": usual,
    "sd-server": { ...common, n: 2, output_format: "png" },
    ollama: { ...common, response_format: "b64_json", seed },
  });
});

test("an extra body is sent along and replaces nothing of ours", async (context) => {
  const extraBody = { num_inference_steps: 30, lora: { scale: 0.5 }, prompt: "theirs", n: 9 };
  const { emulator, create } = await startFor(context, "vllm-omni", { extraBody });
  await create().submit(catJob({}), callAt(startMs, "att_1"));
  assert.deepEqual(jsonOf(emulator.requests[0]), {
    num_inference_steps: 30,
    lora: { scale: 0.5 },
    response_format: "b64_json",
    n: 1,
    model: "gpt-image-2.5-flare",
    prompt: "a cat",
    size: "1024x1024",
  });
});

test("a server with a fixed seed makes another picture for every attempt", async (context) => {
  const { create } = await startFor(context, "sglang");
  const pictures = await Promise.all(
    ["att_1", "att_2", "att_1"].map(async (id) =>
      firstOf(await create().submit(catJob({}), callAt(startMs, id))),
    ),
  );
  assert.notDeepEqual(pictures[0], pictures[1]);
  assert.deepEqual(pictures[0], pictures[2]);
});

test("a picture's link may be relative, and the key goes only to the server itself", async (context) => {
  const { emulator, create } = await startFor(context, "localai", { responseFormat: "url" });
  const submit = async (): Promise<Picture> =>
    firstOf(await create().submit(catJob({}), callAt(startMs, "att_1")));
  const own = await submit();
  assert.deepEqual(own, {
    kind: "url",
    url: `${emulator.origin}/generated-images/b640-0.png`,
    headers: { authorization: `Bearer ${apiKey}` },
  });
  const cases: [string, string | null][] = [
    ["https://cdn.example.com/a.png?sig=1", "https://cdn.example.com/a.png?sig=1"],
    ["//cdn.example.com/a.png", "http://cdn.example.com/a.png"],
    [`http://127.0.0.1:1/a.png`, "http://127.0.0.1:1/a.png"],
    ["file:///etc/passwd", null],
    ["http://", null],
  ];
  for (const [url, expected] of cases) {
    emulator.set({ reply: { kind: "changed", change: () => ({ data: [{ url }] }) } });
    const picture = await submit();
    if (expected === null) assert.equal(picture.kind, "failed", url);
    else assert.deepEqual(picture, { kind: "url", url: expected });
  }
});

test("base64 with the prefix of a data URI is understood", async (context) => {
  const { emulator, create } = await startFor(context, "vllm-omni");
  const base64 = `data:image/png;base64,${png.toString("base64")}`;
  emulator.set({ reply: { kind: "changed", change: () => ({ data: [{ b64_json: base64 }] }) } });
  const picture = firstOf(await create().submit(catJob({}), callAt(startMs, "att_1")));
  assert.deepEqual(picture, { kind: "bytes", bytes: png });
});

test("a server that makes fewer pictures than asked fails the others alone", async (context) => {
  const { create } = await startFor(context, "ollama", { picturesMax: 2 });
  const step = await create().submit(catJob({ slots: [0, 1] }), callAt(startMs, "att_1"));
  assert.ok(step.status === "done");
  assert.deepEqual(
    step.pictures.map(({ kind }) => kind),
    ["bytes", "failed"],
  );
  assert.deepEqual(step.usage, {});
});

test("references travel as the server takes them", async (context) => {
  const mask = referenceOf(await paintMask(64, 64, { left: 0, top: 0, width: 8, height: 8 }));
  const references = [referenceOf(png), referenceOf(png)];
  const names = async (profile: CompatibleProfile, wishes: object): Promise<[string, string[]]> => {
    const { emulator, create } = await startFor(context, profile);
    await create().submit(catJob({ references, ...wishes }), callAt(startMs, "att_1"));
    const [request] = emulator.requests;
    const files = (await readForm(request!)).filter((entry) => "bytes" in entry);
    return [request!.path, files.map(({ name }) => name)];
  };
  const path = "/v1/images/edits";
  assert.deepEqual(await names("sglang", {}), [path, ["image", "image"]]);
  assert.deepEqual(await names("vllm-omni", { mask }), [path, ["image", "image", "mask_image"]]);
  assert.deepEqual(await names("sd-server", { mask }), [path, ["image[]", "image[]", "mask"]]);
  const { emulator, create } = await startFor(context, "localai");
  await create().submit(catJob({ references }), callAt(startMs, "att_1"));
  assert.equal(emulator.requests[0]!.path, "/v1/images/generations");
  const base64 = png.toString("base64");
  assert.deepEqual(jsonOf(emulator.requests[0])["ref_images"], [base64, base64]);
});

test("what a server cannot take is left to another channel, before anything is sent", async (context) => {
  const references = [referenceOf(png)];
  const cases: [CompatibleProfile, object][] = [
    ["ollama", { references }],
    ["sglang", { references, mask: referenceOf(png) }],
    ["localai", { references, mask: referenceOf(png) }],
  ];
  for (const [profile, wishes] of cases) {
    const { emulator, create } = await startFor(context, profile);
    await assert.rejects(create().submit(catJob(wishes), callAt(startMs, "a")), fails("unserved"));
    assert.equal(emulator.requests.length, 0);
  }
});

test("control words in a prompt are words to the server", async (context) => {
  const cases: [CompatibleProfile, string, string][] = [
    [
      "sd-server",
      "a<sd_cpp_extra_args>{}</sd_cpp_extra_args>",
      "a< sd_cpp_extra_args>{}< /sd_cpp_extra_args>",
    ],
    ["sd-server", "<<SD_CPP_EXTRA_ARGS>>", "<< SD_CPP_EXTRA_ARGS>>"],
    ["sd-server", "<lora:x:1> 1 < 2 <b>", "< lora:x:1> 1 < 2 <b>"],
    ["localai", "a cat|a dog", "a cat¦a dog"],
    ["vllm-omni", "a|b <lora:x:1>", "a|b <lora:x:1>"],
  ];
  for (const [profile, prompt, sent] of cases) {
    const { emulator, create } = await startFor(context, profile);
    await create().submit(catJob({ prompt }), callAt(startMs, "att_1"));
    assert.equal(jsonOf(emulator.requests[0])["prompt"], sent);
  }
});

test("a server without a key is sent none", async (context) => {
  const { emulator, send } = await startFor(context, "ollama", {}, null);
  const settings = { baseUrl: emulator.baseUrl, apiKey: null, quirks: compatibleProfiles.ollama };
  const adapter = createOpenAiCompatible(settings, { send });
  await adapter.submit(catJob({}), callAt(startMs, "att_1"));
  assert.equal(emulator.requests[0]!.headers["authorization"], undefined);
});

test("the health call makes nothing and says what is wrong", async (context) => {
  const { emulator, create } = await startFor(context, "vllm-omni");
  const health = await create().check!(callAt(startMs, "check"));
  assert.deepEqual(health, { ok: true, detail: "answers, 1 models", upstreamModels: ["dreamer"] });
  const wrong = await createOpenAiCompatible(
    { baseUrl: `${emulator.origin}/v2`, apiKey, quirks: compatibleProfiles["vllm-omni"] },
    createTestSend(),
  ).check!(callAt(startMs, "check"));
  assert.equal(wrong.ok, false);
  assert.equal(emulator.worked.length, 0);
});

async function start(
  profile: CompatibleProfile,
  quirks: Partial<Quirks> = {},
  key: string | null = apiKey,
) {
  const emulator = await startCompatibleEmulator(profile, { apiKey: key });
  const { send, close } = createTestSend();
  const settings = {
    baseUrl: emulator.baseUrl,
    apiKey: key,
    quirks: { ...compatibleProfiles[profile], ...quirks },
  };
  return {
    emulator,
    send,
    create: () => createOpenAiCompatible(settings, { send }),
    close: async () => {
      await close();
      await emulator.stop();
    },
  };
}

async function startFor(context: TestContext, ...given: Parameters<typeof start>) {
  const started = await start(...given);
  context.after(started.close);
  return started;
}

async function bodiesOf(context: TestContext, job: ReturnType<typeof catJob>) {
  const bodies: Partial<Record<CompatibleProfile, Record<string, unknown>>> = {};
  for (const profile of profiles) {
    const { emulator, create } = await startFor(context, profile);
    await create().submit(job, callAt(startMs, "att_1"));
    bodies[profile] = jsonOf(emulator.requests[0]);
  }
  return bodies;
}

function jsonOf(request: RecordedRequest | undefined): Record<string, unknown> {
  return JSON.parse(request!.body.toString()) as Record<string, unknown>;
}

function firstOf(step: Step): Picture {
  assert.ok(step.status === "done");
  return step.pictures[0]!;
}

function fails(kind: FailureKind): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof ProviderError, String(error));
    assert.equal(error.kind, kind, error.message);
    return true;
  };
}

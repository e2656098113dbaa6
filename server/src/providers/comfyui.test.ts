import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import sharp from "sharp";

import { adapterConformance } from "../../test/contracts/adapter.ts";
import type { AdapterFixture, Fault as ConformanceFault } from "../../test/contracts/adapter.ts";
import { callAt, finish, referenceOf, startMs } from "../../test/contracts/adapter-driver.ts";
import { startComfyuiEmulator } from "../../test/emulators/comfyui.ts";
import type {
  ComfyuiEmulator,
  ComfyuiOptions,
  ComfyuiOutcome,
} from "../../test/emulators/comfyui.ts";
import type { Fault } from "../../test/emulators/fault-plan.ts";
import refusals from "../../test/fixtures/comfyui/refusals.json" with { type: "json" };
import exported from "../../test/fixtures/comfyui/workflows.json" with { type: "json" };
import { catJob, createTestSend } from "../../test/support/adapters.ts";
import { colours, paintPlain } from "../../test/support/pictures.ts";
import { ProviderError } from "./adapter.ts";
import type { FailureKind, Job, Step } from "./adapter.ts";
import { parseWorkflows, promptIdOf } from "./comfyui-graph.ts";
import { createComfyui } from "./comfyui.ts";

const png = await paintPlain({ colour: colours.red, width: 64, height: 64, format: "png" });
const jpeg = await paintPlain({ colour: colours.blue, width: 64, height: 64, format: "jpeg" });
const workflows = parseWorkflows(exported);
const apiKey = "proxy-key-0123456789";

const gpuJob = (wishes: Partial<Job> = {}): Job =>
  catJob({ model: "house-flux", upstreamModel: "flux1-dev.safetensors", ...wishes });

adapterConformance("comfyui", async (): Promise<AdapterFixture> => {
  const emulator = await startComfyuiEmulator({ apiKey });
  const { send, close } = createTestSend();
  const calm = { upload: null, submit: null, queue: null, history: null };
  const meets = (name: string, faults: object, kind: FailureKind): ConformanceFault => ({
    name,
    arrange: () => {
      emulator.set({ ...calm, outcome: "success", ...faults });
      return gpuJob({ references: [referenceOf(png)] });
    },
    kind,
  });
  const ends = (outcome: ComfyuiOutcome, kind: FailureKind, taskError?: string) => ({
    ...meets(outcome, { outcome }, kind),
    ...(taskError === undefined ? {} : { taskError }),
  });
  const echo = { status: 400, body: { error: `${apiKey} is not known` } };
  return {
    create: () => createComfyui({ baseUrl: emulator.origin, apiKey, workflows }, { send }),
    job: gpuJob,
    reference: png,
    isDeterministic: false,
    secrets: [apiKey],
    worksBegun: () => emulator.works.length,
    faults: [
      ...refusals.flatMap(({ name, status, body, kind, headers, retryAfterMs }) =>
        ["submit", "upload"].map((route) => ({
          ...meets(
            `${route}: ${name}`,
            { [route]: refusalOf({ status, body, headers }) },
            kind as FailureKind,
          ),
          hasRetryAfter: retryAfterMs !== undefined,
        })),
      ),
      meets(
        "a reply that echoes the key",
        { submit: { kind: "refuse", reply: echo } },
        "bad_request",
      ),
      meets("an upload cut off", { upload: { kind: "reset" } }, "unavailable"),
      meets("an upload told of wrongly", { upload: changedTo({ id: 1 }) }, "unavailable"),
      meets("a submit of 2 GB", { submit: { kind: "huge", bytes: 2 ** 31 } }, "garbled"),
      meets("a history of 2 GB", { history: { kind: "huge", bytes: 2 ** 31 } }, "garbled"),
      meets("a queue of another shape", { queue: changedTo({ queue: [] }) }, "garbled"),
      meets("a queue that is a page", { queue: changedTo(Buffer.from("<html>")) }, "unavailable"),
      meets("a queue cut at 90 %", { queue: { kind: "cut", share: 0.9 } }, "unavailable"),
      meets(
        "a history that is refused",
        { history: refusalOf({ status: 401, body: "" }) },
        "unavailable",
      ),
      ends("error", "unavailable"),
      ends("interrupted", "unavailable"),
      ends("preview", "garbled", "no_image"),
      ends("nothing", "garbled", "no_image"),
    ],
    hangs: (["submit", "poll"] as const).map((verb) => ({
      verb,
      arrange: () => {
        const route = verb === "submit" ? "submit" : "queue";
        emulator.set({ ...calm, outcome: "success", [route]: { kind: "hang" } });
        return gpuJob();
      },
      reached: () => emulator.untilHanging(),
      kind: verb === "submit" ? "lost" : "unavailable",
    })),
    close: async () => {
      await close();
      await emulator.stop();
    },
  };
});

test("a job is put into the places of the workflow, and the rest stays as the operator made it", async (context) => {
  const { adapter, emulator } = await setUp(context);
  await adapter.submit(gpuJob({ prompt: "a “猫”", width: 1_920, height: 1_080 }), call("att_1"));
  const [request] = emulator.requests;
  assert.deepEqual([request!.method, request!.path], ["POST", "/prompt"]);
  const body = JSON.parse(request!.body.toString());
  assert.equal(body.prompt_id, promptIdOf("att_1"));
  const graph = graphOf(structuredClone(exported[0]!.graph));
  graph["3"]!.inputs["seed"] = body.prompt["3"].inputs.seed;
  graph["4"]!.inputs["ckpt_name"] = "flux1-dev.safetensors";
  graph["5"]!.inputs["width"] = 1_920;
  graph["5"]!.inputs["height"] = 1_088;
  graph["6"]!.inputs["text"] = "a “猫”";
  assert.deepEqual(body.prompt, graph);
});

test("the seed depends on the attempt and the slot, so that no two pictures are the same", async (context) => {
  const { adapter, emulator } = await setUp(context);
  await adapter.submit(gpuJob({ slots: [0] }), call("att_1"));
  await adapter.submit(gpuJob({ slots: [1] }), call("att_2"));
  await adapter.submit(gpuJob({ slots: [0] }), call("att_3"));
  const seeds = emulator.works.map(({ graph }) => graphOf(graph)["3"]!.inputs["seed"]);
  assert.equal(new Set(seeds).size, 3);
  for (const seed of seeds) assert.ok(Number.isSafeInteger(seed) && Number(seed) >= 0);
});

test("an attempt's name at the server is a UUID in lower case that depends on its id alone", () => {
  const name = promptIdOf("att_01JZZZZZZZZZZZZZZZZZZZZZZZ");
  assert.match(name, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(promptIdOf("att_01JZZZZZZZZZZZZZZZZZZZZZZZ"), name);
  assert.notEqual(promptIdOf("att_01JZZZZZZZZZZZZZZZZZZZZZZY"), name);
});

test("references and mask are uploaded byte for byte and named in the graph", async (context) => {
  const { adapter, emulator } = await setUp(context);
  const references = [referenceOf(jpeg, { contentType: "image/jpeg" })];
  await adapter.submit(gpuJob({ references, mask: referenceOf(png) }), call("att_1"));
  const id = promptIdOf("att_1");
  const names = [`darkroom/${id}-0.jpeg`, `darkroom/${id}-mask.png`];
  assert.deepEqual([...emulator.uploads.keys()], names);
  assert.deepEqual([...emulator.uploads.values()], [jpeg, png]);
  const graph = graphOf(emulator.works[0]!.graph);
  assert.deepEqual([graph["10"]!.inputs["image"], graph["11"]!.inputs["image"]], names);
});

test("the workflow with the fewest places that suffice is taken", async (context) => {
  const { adapter, emulator } = await setUp(context);
  await adapter.submit(gpuJob(), call("att_1"));
  await adapter.submit(gpuJob({ references: [referenceOf(png)] }), call("att_2"));
  const loaders = emulator.works.map(
    ({ graph }) => Object.values(graphOf(graph)).filter(({ inputs }) => "image" in inputs).length,
  );
  assert.deepEqual(loaders, [0, 1]);
});

test("a job that no workflow takes is left to another channel, before anything is sent", async (context) => {
  const { adapter, emulator } = await setUp(context);
  const two = [referenceOf(png), referenceOf(jpeg)];
  await assert.rejects(
    adapter.submit(gpuJob({ references: two }), call("att_1")),
    isFailure("unserved"),
  );
  assert.equal(emulator.requests.length, 0);
});

test("a workflow for one upstream model serves no other", async (context) => {
  const { createWith } = await setUp(context);
  const [plain] = workflows;
  const adapter = createWith([{ ...plain!, upstreamModel: "other.safetensors" }]);
  await assert.rejects(adapter.submit(gpuJob(), call("att_1")), isFailure("unserved"));
  const upstreamModel = "other.safetensors";
  running(await adapter.submit(gpuJob({ upstreamModel }), call("att_2")));
});

test("the picture is fetched from the server, with what its proxy wants to see", async (context) => {
  const { emulator, send } = await setUp(context, { apiKey });
  const baseUrl = `${emulator.origin}/api/`;
  const adapter = createComfyui({ baseUrl, apiKey, workflows }, { send });
  const done = await finish(adapter, gpuJob({ width: 512, height: 256 }), "att_1");
  const [picture] = done.pictures;
  assert.ok(picture?.kind === "url");
  assert.equal(
    picture.url,
    `${emulator.origin}/api/view?filename=gw_0_.png&subfolder=&type=output`,
  );
  assert.deepEqual(picture.headers, { authorization: `Bearer ${apiKey}` });
  const reply = await fetch(picture.url, { headers: picture.headers ?? {} });
  const { width, height } = await sharp(Buffer.from(await reply.arrayBuffer())).metadata();
  assert.deepEqual([width, height], [512, 256]);
  assert.deepEqual(done.usage, {});
  assert.deepEqual(adapter.resultHosts, ["127.0.0.1"]);
});

test("the nodes that the workflow names give the picture, and any when its settings are gone", async (context) => {
  const { createWith, emulator } = await setUp(context);
  const [plain] = workflows;
  const job = gpuJob();
  const outputs = (nodes: string[]) =>
    createWith([{ ...plain!, bindings: { ...plain!.bindings, outputs: nodes } }]);
  const { handle } = running(await outputs(["9"]).submit(job, call("att_1")));
  running(await outputs(["9"]).poll!(job, handle, call("att_1", 1)));
  for (const [adapter, kind] of [
    [outputs(["9"]), "url"],
    [outputs(["8"]), "failed"],
    [createWith([]), "url"],
  ] as const) {
    const step = await adapter.poll!(job, handle, call("att_1", 2));
    assert.ok(step.status === "done");
    assert.equal(step.pictures[0]!.kind, kind);
  }
  assert.equal(emulator.works.length, 1);
});

test("a submit whose answer is lost is not sent again: the work is found by its name", async (context) => {
  const { adapter, emulator } = await setUp(context);
  for (const [index, fault] of (
    [
      { kind: "reset" },
      { kind: "cut", share: 0.9 },
      { kind: "instead", reply: { status: 504, body: "Gateway Timeout" } },
    ] as const
  ).entries()) {
    emulator.set({ submit: fault });
    const done = await finish(adapter, gpuJob(), `att_${index}`);
    assert.equal(done.pictures[0]!.kind, "url");
  }
  assert.equal(emulator.works.length, 3);
});

test("a submit that never arrived ends as vanished after 15 seconds", async (context) => {
  const { adapter, emulator } = await setUp(context);
  const reply = { status: 504, body: "Gateway Timeout" };
  emulator.set({ submit: { kind: "refuse", reply } });
  const { handle } = running(await adapter.submit(gpuJob(), call("att_1")));
  running(await adapter.poll!(gpuJob(), handle, call("att_1", 14_999)));
  await assert.rejects(
    adapter.poll!(gpuJob(), handle, call("att_1", 15_000)),
    isFailure("vanished"),
  );
});

test("work that waits behind other work is running, however long", async (context) => {
  const { adapter, emulator } = await setUp(context);
  emulator.set({ outcome: "stuck" });
  await adapter.submit(gpuJob(), call("att_1"));
  const { handle } = running(await adapter.submit(gpuJob(), call("att_2")));
  const later = running(await adapter.poll!(gpuJob(), handle, call("att_2", 3_600_000)));
  assert.deepEqual(later, { status: "running", handle, pollAfterMs: 5_000 });
});

test("work of a server that was restarted is vanished", async (context) => {
  const { adapter, emulator } = await setUp(context);
  const { handle } = running(await adapter.submit(gpuJob(), call("att_1")));
  emulator.restart();
  await assert.rejects(
    adapter.poll!(gpuJob(), handle, call("att_1", 60_000)),
    isFailure("vanished"),
  );
});

test("why a workflow failed is told to the operator, and the failure is final", async (context) => {
  const { adapter, emulator } = await setUp(context);
  emulator.set({ outcome: "error" });
  const [picture] = (await finish(adapter, gpuJob(), "att_1")).pictures;
  assert.ok(picture?.kind === "failed");
  assert.match(picture.failure.message, /execution_error: KSampler: Allocation on device failed/);
});

test("cancelling takes waiting work from the queue, interrupts running work, and no other", async (context) => {
  const { adapter, emulator } = await setUp(context);
  emulator.set({ outcome: "stuck" });
  const handles = [];
  for (const attemptId of ["att_1", "att_2", "att_3"]) {
    handles.push(running(await adapter.submit(gpuJob(), call(attemptId))).handle);
  }
  await adapter.cancel!(handles[1]!, call("att_2"));
  assert.deepEqual(emulator.queued, [promptIdOf("att_1"), promptIdOf("att_3")]);
  await adapter.cancel!(handles[0]!, call("att_1"));
  assert.deepEqual(emulator.interrupted, [promptIdOf("att_1")]);
  assert.deepEqual(emulator.queued, [promptIdOf("att_3")]);
  await adapter.cancel!(handles[0]!, call("att_1"));
  assert.deepEqual(emulator.queued, [promptIdOf("att_3")]);
  assert.equal(emulator.interrupted.length, 1);
});

test("the health call tells version and device, a wrong key and a silent host", async (context) => {
  const { emulator, send } = await setUp(context, { apiKey });
  const baseUrl = emulator.origin;
  const ours = createComfyui({ baseUrl, apiKey, workflows }, { send });
  assert.deepEqual(await ours.check!(call("att_1")), {
    ok: true,
    detail: "ComfyUI 0.9.2 on cuda:0 Emulated.",
  });
  const stranger = createComfyui({ baseUrl, apiKey: null, workflows }, { send });
  assert.equal((await stranger.check!(call("att_1"))).ok, false);
  await emulator.stop();
  assert.equal((await ours.check!(call("att_1"))).ok, false);
});

test("a workflow that does not fit together is refused, and the place at fault is named", () => {
  const plain = structuredClone(exported[0]!);
  const broken = (bindings: object): unknown => ({
    ...plain,
    bindings: { ...plain.bindings, ...bindings },
  });
  for (const [value, message] of [
    [[], /workflows/],
    ["graph", /workflows\.0/],
    [{ graph: plain.graph }, /workflows\.0\.bindings/],
    [{ ...plain, graph: { "3": { inputs: { seed: undefined } } } }, /workflows\.0\.graph/],
    [broken({ prompt: { node: "66", input: "text" } }), /prompt.*no node "66"/],
    [broken({ seed: { node: "3", input: "sed" } }), /seed.*"3" has no input "sed"/],
    [broken({ outputs: ["99"] }), /outputs.*no node "99"/],
    [broken({ negative: { node: "7", input: "text" } }), /workflows\.0\.bindings.*negative/],
  ] as const) {
    assert.throws(() => parseWorkflows(value), { name: "AppError", message });
  }
  assert.equal(parseWorkflows(plain).length, 1);
});

async function setUp(context: TestContext, options: ComfyuiOptions = {}) {
  const emulator: ComfyuiEmulator = await startComfyuiEmulator(options);
  const { send, close } = createTestSend();
  context.after(async () => {
    await close();
    await emulator.stop();
  });
  const createWith = (given: typeof workflows) =>
    createComfyui({ baseUrl: emulator.origin, apiKey: null, workflows: given }, { send });
  return { adapter: createWith(workflows), createWith, emulator, send };
}

type Graph = Record<string, { inputs: Record<string, unknown> }>;

function graphOf(graph: unknown): Graph {
  return graph as Graph;
}

function call(attemptId: string, afterMs = 0) {
  return callAt(startMs + afterMs, attemptId);
}

type FixtureReply = {
  status: number;
  body: unknown;
  headers?: Record<string, string | undefined> | undefined;
};

function refusalOf({ status, body, headers = {} }: FixtureReply): Fault {
  const given = Object.entries(headers).filter(([, value]) => value !== undefined);
  const reply = {
    status,
    body: typeof body === "string" ? Buffer.from(body) : body,
    headers: Object.fromEntries(given) as Record<string, string>,
  };
  return { kind: "refuse", reply };
}

function changedTo(body: unknown): Fault {
  return { kind: "changed", change: () => body };
}

function running(step: Step): Extract<Step, { status: "running" }> {
  assert.ok(step.status === "running");
  return step;
}

function isFailure(kind: FailureKind): (error: unknown) => boolean {
  return (error) => error instanceof ProviderError && error.kind === kind;
}

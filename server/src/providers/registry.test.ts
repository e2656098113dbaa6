import assert from "node:assert/strict";
import { test } from "node:test";

import { emulatedGeminiKey, startGeminiEmulator } from "../../test/emulators/gemini.ts";
import { catJob, createTestSend } from "../../test/support/adapters.ts";
import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { builtInModels } from "../models/catalogue.ts";
import { loadProvider, modelsOf, providerNames } from "./registry.ts";
import { findRetirement } from "./retired.ts";

const workflow: JsonObject = {
  graph: { "1": { class_type: "Text", inputs: { text: "" } } },
  bindings: { prompt: { node: "1", input: "text" } },
};

/** Settings that a provider cannot do without. */
const settingsOf: Record<string, JsonObject> = { comfyui: { workflows: workflow } };

function unsent(): never {
  throw new Error("nothing is sent while an adapter is made");
}

function refusalOf(provider: string, settings: JsonObject): string {
  try {
    loadProvider(provider).checkSettings(settings);
  } catch (error) {
    assert.ok(error instanceof AppError && error.reason === "invalid_parameter", String(error));
    return error.message;
  }
  return assert.fail(`${provider} takes ${JSON.stringify(settings)}`);
}

test("every provider makes an adapter of its own name, with a free health call", () => {
  assert.deepEqual(providerNames, [
    "openai",
    "gemini",
    "gemini-interactions",
    "bfl",
    "openai-compatible",
    "comfyui",
  ]);
  for (const name of providerNames) {
    const provider = loadProvider(name);
    const settings = settingsOf[name] ?? {};
    provider.checkSettings(settings);
    const baseUrl = provider.baseUrl ?? "http://127.0.0.1:8188/v1";
    const deps = { send: unsent, models: builtInModels };
    const adapter = provider.create({ baseUrl, secret: "key", settings }, deps);
    assert.equal(adapter.name, name);
    assert.equal(typeof adapter.check, "function");
  }
});

test("a provider that is not there is refused with the names of those that are", () => {
  for (const name of ["dall-e", "constructor", ""]) {
    assert.throws(() => loadProvider(name), /does not exist; use one of openai, gemini, /);
  }
});

test("every model of the catalogue is served by default by the channel of exactly one key", () => {
  const served = ["openai", "gemini", "bfl"].flatMap((name) =>
    modelsOf(loadProvider(name), builtInModels).map(({ id }) => id),
  );
  assert.deepEqual(served.toSorted(), builtInModels.map(({ id }) => id).toSorted());
});

test("a vendor needs a key, an operator's own server does not", () => {
  for (const name of providerNames) {
    const provider = loadProvider(name);
    const baseUrl = provider.baseUrl ?? "http://127.0.0.1:8188/v1";
    const account = { baseUrl, secret: null, settings: settingsOf[name] ?? {} };
    const make = () => provider.create(account, { send: unsent, models: [] });
    if (provider.needsSecret) assert.throws(make, /has no key/);
    else assert.doesNotThrow(make);
  }
});

test("settings that a provider does not know, or of another form, are refused by name", () => {
  assert.match(refusalOf("bfl", { region: "eu" }), /region/);
  assert.match(refusalOf("openai", { organization: 5 }), /settings\.organization/);
  assert.match(refusalOf("gemini", { background: "yes" }), /settings\.background/);
  assert.match(refusalOf("openai-compatible", { profile: "other" }), /settings\.profile.*localai/);
  assert.match(refusalOf("openai-compatible", { picturesMax: 0 }), /settings\.picturesMax/);
  assert.match(refusalOf("comfyui", {}), /settings\.workflows/);
  const bindings = { prompt: { node: "9", input: "text" } };
  assert.match(refusalOf("comfyui", { workflows: { ...workflow, bindings } }), /no node "9"/);
});

test("a profile can be changed in single quirks", () => {
  const settings = { profile: "ollama", picturesMax: 3 };
  const account = { baseUrl: "http://127.0.0.1:1/v1", secret: null, settings };
  const { create } = loadProvider("openai-compatible");
  assert.equal(create(account, { send: unsent, models: [] }).picturesMax, 3);
});

test("one Gemini key serves both protocols: each model goes through the one of its catalogue row", async () => {
  const emulator = await startGeminiEmulator();
  const { send, close } = createTestSend();
  try {
    const account = { baseUrl: emulator.origin, secret: emulatedGeminiKey, settings: {} };
    const adapter = loadProvider("gemini").create(account, { send, models: builtInModels });
    const call = { attemptId: "att_1", now: 0, signal: new AbortController().signal };
    for (const { id, upstreamModel } of modelsOf(loadProvider("gemini"), builtInModels)) {
      const parameters = { size: "1:1", resolution: "1K" };
      const job = catJob({ model: id, upstreamModel, parameters });
      assert.equal((await adapter.submit(job, call)).status, "done", id);
    }
    assert.deepEqual(
      emulator.billed.map(({ route }) => route),
      ["generateContent", "generateContent", "interactions", "generateContent", "generateContent"],
    );
  } finally {
    await emulator.stop();
    await close();
  }
});

test("background work of the Gemini channel is asked about under the handle that it left", async () => {
  const emulator = await startGeminiEmulator();
  emulator.set({ pollsUntilDone: 1 });
  const { send, close } = createTestSend();
  try {
    const settings = { background: true };
    const account = { baseUrl: emulator.origin, secret: emulatedGeminiKey, settings };
    const adapter = loadProvider("gemini").create(account, { send, models: builtInModels });
    const call = { attemptId: "att_1", now: 0, signal: new AbortController().signal };
    const model = "gemini-3.1-flash-lite-image";
    const job = catJob({ model, upstreamModel: model, parameters: { size: "1:1" } });
    let step = await adapter.submit(job, call);
    for (let polls = 0; step.status === "running" && polls < 5; polls += 1) {
      step = await adapter.poll!(job, step.handle, call);
    }
    assert.equal(step.status, "done");
    assert.equal(emulator.billed.length, 1);
  } finally {
    await emulator.stop();
    await close();
  }
});

test("names that vendors have ended are known, with the day and what to use instead", () => {
  const before = Date.parse("2026-11-21");
  const retired = (provider: string, name: string) => findRetirement(provider, name, before);
  assert.equal(
    retired("openai", "gpt-image-1"),
    "gpt-image-1 was shut down by its vendor on 2026-10-23; use gpt-image-2.5-flare",
  );
  assert.match(
    retired("openai", "gpt-image-1.5-2025-12-16") ?? "",
    /will be shut down .* 2026-12-01/,
  );
  assert.match(
    retired("gemini-interactions", "gemini-2.5-flash-image-preview") ?? "",
    /2026-01-15/,
  );
  assert.equal(retired("bfl", "gpt-image-1"), null);
  for (const { provider, upstreamModel } of builtInModels) {
    assert.equal(retired(provider, upstreamModel), null, upstreamModel);
  }
});

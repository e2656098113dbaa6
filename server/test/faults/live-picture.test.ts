/** From the key of a vendor to a live picture, with the commands and the `curl` lines that the README prints. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";

import type { SubmitReply } from "../../../client/src/submit.ts";
import type { TaskReply } from "../../../client/src/tasks.ts";
import { emulatedBflKey, startBflEmulator } from "../emulators/bfl.ts";
import { emulatedOpenAiKey, startOpenAiEmulator } from "../emulators/openai.ts";
import { until } from "../support/client.ts";
import { runJson, startServer } from "../support/gateway-process.ts";
import { collectPictures } from "../support/pictures.ts";
import { readBooks } from "./books.ts";

const hasCurl = spawnSync("curl", ["--version"]).status === 0;
const prompt = "A blue cat on the grass";

type Account = {
  settings: Record<string, string>;
  /** Asked for in the place of the README's model, which is one of OpenAI's. */
  model: string;
  countBilled(): number;
};

const accounts: Record<string, (t: TestContext) => Promise<Account>> = {
  OPENAI_API_KEY: async (t) => {
    const { baseUrl, billed, stop } = await startOpenAiEmulator();
    t.after(stop);
    return {
      settings: { OPENAI_API_KEY: emulatedOpenAiKey, OPENAI_BASE_URL: baseUrl },
      model: "gpt-image-1-official",
      countBilled: () => billed.length,
    };
  },
  BFL_API_KEY: async (t) => {
    const emulator = await startBflEmulator();
    t.after(emulator.stop);
    return {
      settings: { BFL_API_KEY: emulatedBflKey, BFL_BASE_URL: emulator.origin },
      model: "flux-2-pro",
      countBilled: () => emulator.billed.length,
    };
  },
};

describe("the README's curl makes a live picture", { skip: !hasCurl }, () => {
  for (const [variable, open] of Object.entries(accounts)) {
    test(`with ${variable} in the environment, a live key and credit`, async (t) => {
      const { settings, model, countBilled } = await open(t);
      const folder = await mkdtemp(join(tmpdir(), "darkroom-live-"));
      t.after(() => rm(folder, { recursive: true, force: true }));
      const server = await startServer(folder, { ...settings, DARKROOM_LOG_LEVEL: "error" });
      t.after(() => server.kill("SIGKILL"));
      await server.printed(/A sample picture/);
      assert.equal(countBilled(), 0, "the sample is the sandbox's");

      const readme = await readFile(resolve(import.meta.dirname, "../../../README.md"), "utf8");
      const line = (start: string, from: string): string => findLine(readme, from, start);
      const operator = (command: string): Promise<Record<string, string>> => {
        const words = line(`npx node server/src/main.ts ${command}`, "### Live pictures");
        return runJson(folder, words.split(" ").slice(3));
      };
      const { key } = await operator("keys create");
      await operator("accounts credit");
      assert.match(key ?? "", /^sk-live-/);
      const paste = (curl: string): Promise<string> =>
        runShell(
          curl
            .replace("http://127.0.0.1:8787", server.origin)
            .replace("sk-test-…", key ?? "")
            .replace('"gpt-image-1-official"', `"${model}"`),
        );

      const submit = line("curl http://127.0.0.1:8787/v1/images/generations", "## Use");
      const submitted = JSON.parse(await paste(submit)) as SubmitReply;
      const [{ task_id: id }] = submitted.data;
      const poll = line("curl -H", "## Use").replace(/task_\w+/, id);
      const { data: task } = await until(
        async () => JSON.parse(await paste(poll)) as TaskReply,
        ({ data }) => data.progress === 100,
      );

      assert.equal(task.status, "completed", JSON.stringify(task.error));
      assert.ok(!("test" in task), "it is live");
      const [picture] = await collectPictures(task);
      assert.ok(picture !== undefined && picture.width > picture.height, "it is 3:2");
      assert.equal(countBilled(), 1);
      const [booked] = readBooks(folder, prompt);
      assert.equal(booked?.captures, 1);
      assert.equal(booked?.attempts[0]?.cost?.fate, "delivered");
    });
  }
});

/** The command that begins so, with its continued lines, from the section on. */
function findLine(readme: string, section: string, start: string): string {
  const from = readme.indexOf(`\n${section}\n`);
  const at = readme.indexOf(`\n${start}`, from);
  assert.ok(from >= 0 && at >= 0, `the README has no line "${start}" in "${section}"`);
  const [command = ""] = /^(?:[^\n]*\\\n)*[^\n]*/.exec(readme.slice(at + 1)) ?? [];
  return command;
}

async function runShell(command: string): Promise<string> {
  const child = spawn("/bin/sh", ["-c", `${command} --silent --show-error`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return text(child.stdout);
}

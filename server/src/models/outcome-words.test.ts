import assert from "node:assert/strict";
import { test } from "node:test";

import { outcomeWords, warnOfOutcomeWords } from "./outcome-words.ts";
import { taskErrorCodes } from "./task-errors.ts";

const none = { fail: null, slowMs: null, partial: null, submit: null };

test("a prompt without outcome words is left as it is, spaces and all", () => {
  const prompt = "  a  cat [[in brackets]] [fail:no_image] \n [[]] ";
  assert.deepEqual(outcomeWords(prompt), { ...none, prompt });
});

test("every task error code can be chosen", () => {
  for (const code of taskErrorCodes) {
    assert.deepEqual(outcomeWords(`a cat [[fail:${code}]]`), {
      ...none,
      fail: code,
      prompt: "a cat",
    });
  }
});

test("an unknown code, duration, count or status stays in the prompt as text", () => {
  for (const word of [
    "[[fail:nonsense]]",
    "[[fail:No_Image]]",
    "[[fail:]]",
    "[[slow:3]]",
    "[[slow:-3s]]",
    "[[slow:1e3s]]",
    "[[slow:.5s]]",
    "[[partial:1.5]]",
    "[[partial:1000]]",
    "[[partial:x]]",
    "[[submit:200]]",
    "[[submit:402|429]]",
    "[[wait:1s]]",
    "[[fail:constructor]]",
  ]) {
    assert.deepEqual(outcomeWords(`a ${word} cat`), { ...none, prompt: `a ${word} cat` });
  }
});

test("what looks like a word and is none is warned of once, with the words that exist", () => {
  for (const word of [
    "[[fail:bogus]]",
    "[[FAIL:no_image]]",
    "[[fial:no_image]]",
    "[[slow:abc]]",
    "[[slow:3]]",
    "[[ partial : 2 ]]",
    "[[submit:500]]",
  ]) {
    const [warning, ...more] = warnOfOutcomeWords(`a ${word} cat [[slow:1s]] ${word}`);
    assert.deepEqual([warning?.param, warning?.code, more], ["prompt", "ignored", []], word);
    const { message = "" } = warning ?? {};
    assert.ok(message.startsWith(`prompt has ${JSON.stringify(word)}, which`), message);
    assert.match(message, /\[\[fail:CODE\]\] \(.*no_image.*\[\[submit:402\|429\|503\]\]$/);
  }
  const many = Array.from({ length: 9 }, (_, index) => `[[slow:${index}]]`).join(" ");
  const [warning] = warnOfOutcomeWords(many);
  assert.ok(warning !== undefined && warning.message.length <= 1_000);
  for (const prompt of ["a cat", "[[slow:1s]] [[fail:no_image]]", "[[in brackets]] [[a] b: c]"]) {
    assert.deepEqual(warnOfOutcomeWords(prompt), [], prompt);
  }
});

test("durations take decimals and end at ten minutes", () => {
  const cases: [string, number][] = [
    ["0s", 0],
    ["2s", 2_000],
    ["0.25s", 250],
    ["600s", 600_000],
    ["601s", 600_000],
    ["999999s", 600_000],
  ];
  for (const [text, ms] of cases) assert.equal(outcomeWords(`x [[slow:${text}]]`).slowMs, ms, text);
});

test("several words work together, the first of a kind counts, and all are left out", () => {
  assert.deepEqual(
    outcomeWords("[[slow:1s]]a red [[partial:2]] cat[[slow:9s]] [[submit:429]] on a mat"),
    { fail: null, slowMs: 1_000, partial: 2, submit: 429, prompt: "a red cat on a mat" },
  );
});

test("a prompt of nothing but words becomes blank", () => {
  assert.deepEqual(outcomeWords(" [[partial:0]] "), { ...none, partial: 0, prompt: "" });
});

test("a hostile prompt of unclosed brackets is read in time that grows with its length", () => {
  const prompt = "[[fail:".repeat(100_000);
  assert.equal(outcomeWords(prompt).prompt, prompt);
  assert.deepEqual(warnOfOutcomeWords(prompt), []);
  assert.deepEqual(warnOfOutcomeWords("[[ ".repeat(100_000)), []);
});

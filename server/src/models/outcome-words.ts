/**
 * Words that a caller with a test key may put into a prompt to choose the outcome:
 * `[[fail:CODE]]`, `[[slow:Ns]]`, `[[partial:K]]`, `[[submit:402|429|503]]`. Whoever calls the parser
 * has made sure of the test key: a live prompt is never looked at.
 */
import { taskErrorCodes } from "./task-errors.ts";
import type { TaskErrorCode } from "./task-errors.ts";
import type { Warning } from "./model.ts";
import { show } from "./words.ts";

export type OutcomeWords = {
  /** Every picture fails with this task error. */
  fail: TaskErrorCode | null;
  /** How long the work takes, in milliseconds, at most ten minutes. */
  slowMs: number | null;
  /** How many pictures are delivered; the slots from this number on fail. */
  partial: number | null;
  /** The HTTP status with which the submit is refused. */
  submit: 402 | 429 | 503 | null;
  /** The prompt without the words; blank when there was nothing else. */
  prompt: string;
};

const submitStatuses = [402, 429, 503] as const;
const slowMsMax = 600_000;
const wordPattern = /\[\[(fail|slow|partial|submit):([a-z0-9_.]{1,40})\]\]/g;

/** Reads the words of a prompt. The first of a kind counts; what is not exactly a word stays text. */
export function outcomeWords(prompt: string): OutcomeWords {
  const found: OutcomeWords = { fail: null, slowMs: null, partial: null, submit: null, prompt };
  if (!prompt.includes("[[")) return found;
  const rest = prompt.replaceAll(wordPattern, (text: string, word: string, value: string) =>
    readWord(found, word, value) ? " " : text,
  );
  // Only a prompt that held a word is tidied: any other keeps its spaces.
  return rest === prompt ? found : { ...found, prompt: rest.replaceAll(/ {2,}/g, " ").trim() };
}

/** What somebody who meant a word may have typed; other brackets are a matter of the prompt. */
const attemptPattern = /\[\[\s{0,4}[a-z]{1,12}\s{0,4}:[^[\]]{0,40}\]\]/gi;
const attemptsNamedMax = 3;

/** A warning of what looks like a word and is none; none for any other prompt. */
export function warnOfOutcomeWords(prompt: string): Warning[] {
  if (!prompt.includes("[[")) return [];
  const attempts = new Set(outcomeWords(prompt).prompt.match(attemptPattern));
  if (attempts.size === 0) return [];
  const named = [...attempts].slice(0, attemptsNamedMax).map(show).join(" and ");
  const message =
    `prompt has ${named}, which the sandbox does not know and leaves in the picture's text; use ` +
    `[[fail:CODE]] (${taskErrorCodes.join(", ")}), [[slow:8s]], [[partial:2]] or [[submit:402|429|503]]`;
  return [{ param: "prompt", code: "ignored", message }];
}

function readWord(found: OutcomeWords, word: string, value: string): boolean {
  switch (word) {
    case "fail":
      return keep(found, "fail", taskErrorCodes.find((code) => code === value) ?? null);
    case "slow":
      return keep(found, "slowMs", parseSlow(value));
    case "partial":
      return keep(found, "partial", /^\d{1,3}$/.test(value) ? Number(value) : null);
    default:
      return keep(
        found,
        "submit",
        submitStatuses.find((status) => String(status) === value) ?? null,
      );
  }
}

/** False when the value means nothing, and then the word stays in the prompt. */
function keep<Name extends "fail" | "slowMs" | "partial" | "submit">(
  found: OutcomeWords,
  name: Name,
  value: OutcomeWords[Name],
): boolean {
  if (value === null) return false;
  found[name] ??= value;
  return true;
}

function parseSlow(value: string): number | null {
  const match = /^(\d{1,6}(?:\.\d{1,3})?)s$/.exec(value);
  return match === null ? null : Math.min(slowMsMax, Math.round(Number(match[1]) * 1_000));
}

import type { Language } from "../models/model.ts";
import type { TaskErrorCode } from "../models/task-errors.ts";
import { texts } from "./texts.ts";

/** Why a slot or a whole task failed, as stored. The words are chosen when it is read. */
export type TaskError = {
  code: TaskErrorCode;
  /** The top-level field of the submit. */
  param?: string;
  /** Which of a list: `image_urls[3]`. */
  place?: string;
};

/** The words for a code; our own, never the vendor's. */
export function describeTaskError(code: TaskErrorCode, language: Language): string {
  return texts[language][code];
}

/** As `describeTaskError`, led by the place in the list, which is the same word in every language. */
export function describePlacedError({ code, place }: TaskError, language: Language): string {
  const text = describeTaskError(code, language);
  return place === undefined ? text : `${place}: ${text}`;
}

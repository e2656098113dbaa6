import type { Language } from "../models/model.ts";
import type { TaskErrorCode } from "../models/task-errors.ts";
import { texts } from "./texts.ts";

/** Why a slot or a whole task failed, as stored. The words are chosen when it is read. */
export type TaskError = { code: TaskErrorCode; param?: string };

/** The words for a code; our own, never the vendor's. */
export function describeTaskError(code: TaskErrorCode, language: Language): string {
  return texts[language][code];
}

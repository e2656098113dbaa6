import type { AppError } from "../../lib/errors.ts";

/** A refusal as BFL's services write it: a sentence, or for a field a list. */
export type BflProblem = {
  detail: string | { loc: ["body", string]; msg: string; type: string }[];
};

export function presentBflProblem({ message, param, reason }: AppError): BflProblem {
  if (param === undefined || param === "Authorization") return { detail: message };
  return { detail: [{ loc: ["body", param], msg: message, type: reason }] };
}

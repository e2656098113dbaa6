/**
 * A task's references, brought into our own storage once, before its first attempt: vendors get our
 * bytes, never the caller's URL, and every slot and every rescue uses the same ones.
 */
import type { ReferenceRow } from "../db/schema.ts";
import { fetchReference, ReferenceUnavailable } from "../images/fetch.ts";
import { PictureError } from "../images/picture.ts";
import { checkMask, keepReference } from "../images/references.ts";
import type { KeptReference } from "../images/references.ts";
import { insertReferences, loadReferences } from "../images/store.ts";
import { must } from "../lib/errors.ts";
import { discardObjects } from "./body-references.ts";
import { commitStep, Fenced, outlast } from "./engine.ts";
import type { EngineDeps, Run } from "./engine.ts";
import type { TaskError } from "./errors.ts";
import { maskPosition } from "./task.ts";
import type { ReferenceSource } from "./task.ts";

export type TaskReferences = { references: ReferenceRow[]; mask: ReferenceRow | null };

/** A reference or mask that cannot be used; the task fails and nobody pays. */
export class ReferenceProblem extends Error {
  readonly taskError: TaskError;

  constructor(taskError: TaskError, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = "ReferenceProblem";
    this.taskError = taskError;
  }
}

/** Loads the rows, fetching and committing those that are missing. Throws `ReferenceProblem`. */
export async function prepareReferences(deps: EngineDeps, run: Run): Promise<TaskReferences> {
  const { task } = run;
  const wanted = sourcesOf(task);
  if (wanted.length === 0) return { references: [], mask: null };
  const present = await loadReferences(deps.db.read, task.accountId, task.id);
  const missing = wanted.filter(
    ({ position }) => !present.some((row) => row.position === position),
  );
  if (missing.length > 0) await obtainAll(deps, run, missing);
  const rows = await loadReferences(deps.db.read, task.accountId, task.id);
  const mask = rows.find(({ position }) => position === maskPosition) ?? null;
  const references = rows.filter(({ position }) => position !== maskPosition);
  // Until something has been sent, nobody knows that a run before this one got as far as the proof.
  if (mask !== null && task.state === "pending" && !wasProvedAtSubmit(task)) {
    await outlast(deps, run, () => proveMask(deps, mask, references));
  }
  return { references, mask };
}

function wasProvedAtSubmit({ mask, references }: Run["task"]): boolean {
  return mask?.from === "body" && references[0]?.from === "body";
}

/** Stores what is missing and commits its rows; leaves nothing in storage when one cannot be had. */
async function obtainAll(deps: EngineDeps, run: Run, missing: readonly Entry[]): Promise<void> {
  const works = missing.map((entry) => outlast(deps, run, () => obtain(deps, run, entry)));
  const results = await Promise.allSettled(works);
  const kept = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  try {
    await Promise.all(works);
    await commitStep(deps, run, (tx) => insertReferences(tx, run.task, kept));
  } catch (error) {
    // Of any other failure nobody knows whether the rows were committed.
    if (error instanceof ReferenceProblem || error instanceof Fenced) {
      await discardObjects(deps, kept);
    }
    throw error;
  }
}

type Entry = { position: number; source: ReferenceSource };

function sourcesOf(task: Run["task"]): Entry[] {
  const references = task.references.map((source, position) => ({ position, source }));
  return task.mask === null
    ? references
    : [...references, { position: maskPosition, source: task.mask }];
}

async function obtain(
  deps: EngineDeps,
  run: Run,
  { position, source }: Entry,
): Promise<KeptReference> {
  const isMask = position === maskPosition;
  const param = isMask ? "mask_url" : "image_urls";
  const place = isMask ? param : `${param}[${position}]`;
  const error: TaskError = isMask
    ? { code: "invalid_mask", param }
    : { code: "invalid_reference_image", param, place };
  const model = must(deps.catalogue.find(run.task.request.model), "the task's model");
  const { bytesMax } = must(model.references, "the model's rule for references");
  try {
    return await readSource(deps, run, { source, bytesMax }, (bytes) =>
      keepReference(deps, { bytes, position, bytesMax, isMask }),
    );
  } catch (cause) {
    if (!(cause instanceof ReferenceUnavailable || cause instanceof PictureError)) throw cause;
    throw new ReferenceProblem(error, `${place}: ${cause.message}`, { cause });
  }
}

async function readSource<T>(
  deps: EngineDeps,
  run: Run,
  { source, bytesMax }: { source: ReferenceSource; bytesMax: number },
  use: (bytes: Uint8Array) => Promise<T>,
): Promise<T> {
  switch (source.from) {
    case "url": {
      const options = { bytesMax, signal: run.signal, account: run.task.accountId };
      return fetchReference(deps.egress, source.url, options, use);
    }
    case "object": {
      const bytes = await deps.storage.read(source.object);
      if (bytes === null) throw new ReferenceUnavailable("the stored picture is gone");
      return use(bytes);
    }
    case "body":
      throw new ReferenceUnavailable("a picture from the body was not stored");
  }
}

async function proveMask(
  deps: EngineDeps,
  mask: ReferenceRow,
  references: readonly ReferenceRow[],
): Promise<void> {
  const bytes = must(await deps.storage.read(mask.object), "the mask");
  const problem = await checkMask(deps.pictures, bytes, references[0] ?? null);
  if (problem === null) return;
  throw new ReferenceProblem({ code: "invalid_mask", param: "mask_url" }, problem);
}

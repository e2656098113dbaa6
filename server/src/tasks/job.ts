import type { ReferenceRow } from "../db/schema.ts";
import { must } from "../lib/errors.ts";
import type { Catalogue } from "../models/catalogue.ts";
import { promisedPicture } from "../models/pixels.ts";
import type { Job, ReferencePicture } from "../providers/adapter.ts";
import type { Storage } from "../storage/storage.ts";
import type { TaskReferences } from "./references.ts";
import type { Attempt, Task } from "./task.ts";

/** What an attempt asks of its upstream: a pure function of the task's rows. */
export function createJob(
  deps: { catalogue: Catalogue; storage: Storage },
  task: Task,
  attempt: Attempt,
  { references, mask }: TaskReferences,
): Job {
  const { request } = task;
  const model = must(deps.catalogue.find(request.model), `model ${request.model}`);
  const first = references[0] ?? null;
  const { width, height, format } = promisedPicture(model, request, first, mask !== null);
  return {
    model: request.model,
    upstreamModel: attempt.upstreamModel,
    prompt: request.prompt,
    parameters: request.parameters,
    slots: attempt.slots,
    width,
    height,
    format,
    references: references.map((row) => readerOf(deps.storage, row)),
    mask: mask === null ? null : readerOf(deps.storage, mask),
    test: task.mode === "test",
  };
}

function readerOf(storage: Storage, row: ReferenceRow): ReferencePicture {
  return {
    contentType: row.content_type as ReferencePicture["contentType"],
    width: row.width,
    height: row.height,
    byteLength: row.bytes,
    read: async () => must(await storage.read(row.object), `reference ${row.object}`),
  };
}

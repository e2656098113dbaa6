import type { ReferenceRow } from "../db/schema.ts";
import { must } from "../lib/errors.ts";
import type { OutputPromise } from "../images/outputs.ts";
import type { Catalogue } from "../models/catalogue.ts";
import { promisedPicture } from "../models/pixels.ts";
import type { Job, ReferencePicture } from "../providers/adapter.ts";
import type { Storage } from "../storage/storage.ts";
import type { TaskReferences } from "./references.ts";
import type { Attempt, Task } from "./task.ts";

/** What an attempt asks of its upstream: a pure function of the task's rows. */
export function createJob(
  deps: { catalogue: Catalogue; storage: Pick<Storage, "read"> },
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

/** What the contract promises of a live picture; null in the sandbox, which draws exactly that. */
export function createPromise(
  { catalogue, storage }: { catalogue: Catalogue; storage: Storage },
  { request, mode }: Task,
  { references, mask }: TaskReferences,
): OutputPromise | null {
  if (mode === "test") return null;
  const model = must(catalogue.find(request.model), `model ${request.model}`);
  const first = references[0] ?? null;
  const promised = promisedPicture(model, request, first, mask !== null);
  const { output_compression: compression } = request.parameters;
  const isComposite = model.mask?.result === "first_reference";
  return {
    width: promised.width,
    height: promised.height,
    format: promised.format,
    compression: typeof compression === "number" ? compression : null,
    isExactPixels: promised.isExactSize,
    isExactFormat: promised.isExactFormat,
    masked:
      isComposite && first !== null && mask !== null
        ? { reference: readerOf(storage, first).read, mask: readerOf(storage, mask).read }
        : null,
  };
}

function readerOf(storage: Pick<Storage, "read">, row: ReferenceRow): ReferencePicture {
  return {
    contentType: row.content_type as ReferencePicture["contentType"],
    width: row.width,
    height: row.height,
    byteLength: row.bytes,
    read: async () => must(await storage.read(row.object), `reference ${row.object}`),
  };
}

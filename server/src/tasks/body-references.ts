/**
 * References and masks as a submit brings them: what is in the body is proved, cleaned and stored
 * before the task exists; links of our own are checked; everything else is fetched later.
 */
import type { Caller } from "../accounts/caller.ts";
import type { Database } from "../db/database.ts";
import { parseDataReference } from "../images/data-uri.ts";
import { PictureError } from "../images/picture.ts";
import type { PictureProcesses } from "../images/picture.ts";
import { checkMask, keepReference } from "../images/references.ts";
import type { KeptReference } from "../images/references.ts";
import { findOwnPicture } from "../images/store.ts";
import { AppError, must } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Promised } from "../lib/promised.ts";
import type { Random } from "../lib/random.ts";
import type { ReferenceInput, Submit } from "../models/model.ts";
import type { Model } from "../models/row.ts";
import type { Links } from "../storage/links.ts";
import type { Storage } from "../storage/storage.ts";
import { findTask } from "./store.ts";
import { maskPosition } from "./task.ts";
import type { ReferenceSource } from "./task.ts";

export type BodyReferencesDeps = {
  db: Database;
  storage: Storage;
  pictures: PictureProcesses;
  random: Random;
  log: Log;
  links: Links;
  /** Addresses under which links of our own are recognised; never taken from the Host header. */
  linkBases(): readonly string[];
};

export type BodyReferences = {
  references: ReferenceSource[];
  mask: ReferenceSource | null;
  /** What has been put into storage for this submit. */
  kept: KeptReference[];
};

type Context = { caller: Caller; model: Model; submit: Submit };

/**
 * At once for a submit without pictures. Throws `invalid_image`, `image_too_large`, `invalid_mask` or
 * `invalid_parameter`; stores nothing then.
 */
export function takeBodyReferences(
  deps: BodyReferencesDeps,
  context: Context,
): Promised<BodyReferences> {
  const { references, mask } = context.submit;
  if (references.length === 0 && mask === null) return { references: [], mask: null, kept: [] };
  return takeAll(deps, context);
}

async function takeAll(deps: BodyReferencesDeps, context: Context): Promise<BodyReferences> {
  const { submit } = context;
  const body: BodyReferences = { references: [], mask: null, kept: [] };
  try {
    for (const [position, input] of submit.references.entries()) {
      body.references.push(await take(deps, context, body, { input, position }));
    }
    if (submit.mask !== null) {
      body.mask = await take(deps, context, body, { input: submit.mask, position: maskPosition });
      await proveMask(deps, body);
    }
    return body;
  } catch (error) {
    await discardObjects(deps, body.kept);
    throw error;
  }
}

/** Removes what was stored for rows that will not be written. */
export async function discardObjects(
  deps: Pick<BodyReferencesDeps, "storage" | "log">,
  kept: readonly { object: string }[],
): Promise<void> {
  for (const { object } of kept) {
    try {
      await deps.storage.remove(object);
    } catch (error) {
      deps.log.warn({ err: error, object }, "an unused object could not be removed");
    }
  }
}

async function take(
  deps: BodyReferencesDeps,
  { caller, model }: Context,
  body: BodyReferences,
  { input, position }: { input: ReferenceInput; position: number },
): Promise<ReferenceSource> {
  const isMask = position === maskPosition;
  const param = isMask ? "mask_url" : "image_urls";
  const place = isMask ? "mask_url" : `image_urls[${position}]`;
  if (input.kind === "url") return takeUrl(deps, caller, input.url, { param, place });
  const { bytesMax } = must(model.references, "the model's rule for references");
  const index = isMask ? null : position;
  const bytes = parseDataReference(input, { param, index }, bytesMax);
  try {
    body.kept.push(await keepReference(deps, { bytes, position, bytesMax, isMask }));
  } catch (error) {
    if (!(error instanceof PictureError)) throw error;
    throw new AppError("invalid_image", `${place} ${error.message}`, { param, cause: error });
  }
  return { from: "body" };
}

async function takeUrl(
  deps: BodyReferencesDeps,
  caller: Caller,
  url: string,
  { param, place }: { param: string; place: string },
): Promise<ReferenceSource> {
  const link = deps.links.recognise(url, deps.linkBases());
  if (link === null) return { from: "url", url };
  if (link.state === "expired") {
    throw new AppError(
      "invalid_parameter",
      `${place} is a link that has expired; upload it again`,
      {
        param,
      },
    );
  }
  if (!(await isOwnPicture(deps.db, caller, link.object))) {
    throw new AppError(
      "invalid_parameter",
      `${place} is a link to a picture of another account or of the other mode`,
      { param },
    );
  }
  return { from: "object", object: link.object };
}

/** Whether a stored object is an upload or a result of this account and mode. */
async function isOwnPicture(db: Database, caller: Caller, object: string): Promise<boolean> {
  const own = await findOwnPicture(db.read, caller.accountId, object);
  if (own === null) return false;
  if (own.kind === "upload") return own.mode === caller.mode;
  const task = await findTask(db.read, caller.accountId, own.taskId);
  return task?.mode === caller.mode;
}

/** With the first reference in the body too, its size is checked here; otherwise before the first attempt. */
async function proveMask(deps: BodyReferencesDeps, body: BodyReferences): Promise<void> {
  const mask = body.kept.find(({ position }) => position === maskPosition);
  if (mask === undefined) return;
  const first = body.kept.find(({ position }) => position === 0) ?? null;
  const bytes = must(await deps.storage.read(mask.object), "the mask");
  const problem = await checkMask(deps.pictures, bytes, first);
  if (problem !== null) throw new AppError("invalid_mask", problem, { param: "mask_url" });
}

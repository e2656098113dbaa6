import type { Handle } from "../db/database.ts";
import type { OutputRow } from "../db/schema.ts";
import { loadOutputs } from "../images/store.ts";
import type { Catalogue } from "../models/catalogue.ts";
import type { Language } from "../models/model.ts";
import { extensionOf } from "../storage/names.ts";
import type { Links } from "../storage/links.ts";
import { loadSlots } from "./slot-store.ts";
import { presentTask } from "./view.ts";
import type { TaskViewRow } from "./view.ts";

export type RenderDeps = {
  catalogue: Pick<Catalogue, "find">;
  links: Pick<Links, "sign">;
  /** Where callers reach this server; no slash at the end. */
  publicUrl(): string;
};

/** A model that the operator has removed since; its tasks are still readable. */
const estimateUnknownSeconds = 60;

/** The task of a row as its callers see it, as JSON text. */
export async function renderTask(
  handle: Handle,
  deps: RenderDeps,
  { accountId, row, language }: { accountId: string; row: TaskViewRow; language: Language },
): Promise<string> {
  const completed = row.state === "completed";
  const outputs = completed ? await loadOutputs(handle, accountId, row.id) : [];
  const isPartial = completed && outputs.length < row.pictures;
  const { id, pictures } = row;
  const slots = isPartial ? await loadSlots(handle, { accountId, id, pictures }) : [];
  const view = presentTask({
    row,
    outputs,
    slots,
    language,
    estimatedSeconds: deps.catalogue.find(row.model)?.estimatedSeconds ?? estimateUnknownSeconds,
    linkTo: (output, expiresAtMs) => linkTo(deps, output, expiresAtMs),
  });
  return JSON.stringify(view);
}

function linkTo({ links, publicUrl }: RenderDeps, output: OutputRow, expiresAtMs: number): string {
  return `${publicUrl()}${links.sign(output.object, extensionOf(output.content_type), expiresAtMs)}`;
}

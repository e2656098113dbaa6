import type { TaskUsage } from "../../../client/src/tasks.ts";
import type { Handle } from "../db/database.ts";
import type { Catalogue } from "../models/catalogue.ts";
import { sandboxUsage } from "../models/tokens.ts";
import type { Job, Usage } from "../providers/adapter.ts";
import { loadUsages } from "./attempt-store.ts";
import type { Slot, Task } from "./task.ts";

/**
 * Tokens of a task billed by them, summed over the attempts that delivered; null for every other task.
 * Attempts without a picture are not charged, so their tokens are not shown either.
 */
export async function sumUsage(
  handle: Handle,
  task: Task,
  slots: readonly Slot[],
): Promise<TaskUsage | null> {
  const billedByToken = Object.values(task.price.tiers).some(({ billing }) => billing === "tokens");
  if (!billedByToken) return null;
  const delivered = new Set(slots.filter(({ state }) => state === "done").map(({ slot }) => slot));
  const attempts = await loadUsages(handle, task.accountId, task.id);
  const usages = attempts
    .filter((attempt) => attempt.slots.some((slot) => delivered.has(slot)))
    .map(({ usage }) => usage);
  if (usages.length === 0) return null;
  const total = (field: keyof Usage & `${string}Tokens`): number =>
    usages.reduce((sum, usage) => sum + (usage[field] ?? 0), 0);
  const inputTokens = total("inputTokens");
  const imageTokens = total("outputImageTokens");
  const outputTokens = Math.max(total("outputTokens"), imageTokens);
  const inputImageTokens = total("inputImageTokens");
  return {
    input_tokens: inputTokens,
    input_tokens_details: {
      text_tokens: inputTokens - inputImageTokens,
      image_tokens: inputImageTokens,
      cached_tokens: 0,
    },
    output_tokens: outputTokens,
    output_tokens_details: { image_tokens: imageTokens, text_tokens: outputTokens - imageTokens },
    total_tokens: inputTokens + outputTokens,
  };
}

/** What the sandbox reports for a job, so that a model billed by token has something to bill. */
export function sandboxUsageOf(catalogue: Catalogue, job: Job): Usage {
  return sandboxUsage(catalogue.load(job.model), {
    parameters: job.parameters,
    width: job.width,
    height: job.height,
    references: job.references.length,
    promptBytes: Buffer.byteLength(job.prompt),
  });
}

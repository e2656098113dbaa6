/** The program of a picture process: reads jobs from its parent, one at a time, and answers each. */
import { clean, cleanMask, inspectMask, restrictSharp } from "./operations.ts";
import { PictureError } from "./picture.ts";
import type { Answer, Job, OperationName, Output } from "./protocol.ts";

const onStrangers = { clean, cleanMask, inspectMask };

restrictSharp();
// The parent may be gone with work under way here; nothing is worth finishing then, and a normal exit
// would wait for libvips.
process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
// A service manager or a terminal signals the whole group: the parent drains, and needs us meanwhile.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
process.on("message", (job: Job) => void answer(job));
send({ kind: "ready" });

async function answer(job: Job): Promise<void> {
  try {
    const output = await perform(job);
    send({ kind: "done", output, rssBytes: process.memoryUsage.rss() });
  } catch (error) {
    send({
      kind: "failed",
      problem: error instanceof PictureError ? error.problem : null,
      message: error instanceof Error ? error.message : String(error),
      detail: describeCause(error),
      rssBytes: process.memoryUsage.rss(),
    });
  }
}

async function perform(job: Job): Promise<Output<OperationName>> {
  const { operation, input } = job;
  // What only some processes ever do is loaded when it is first needed.
  switch (operation) {
    case "draw":
      return (await import("./draw.ts")).draw(input);
    case "convert":
      return (await import("./conversion.ts")).convert(input.bytes, input.limits, input.conversion);
    case "composite":
      return (await import("./conversion.ts")).composite(
        input.bytes,
        input.limits,
        input.composition,
      );
    case "clean":
    case "cleanMask":
    case "inspectMask":
      return onStrangers[operation](input.bytes, input.limits);
  }
}

function describeCause(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const { cause, stack } = error;
  return (cause instanceof Error ? cause.message : (stack ?? "")).slice(0, 1_000);
}

function send(answerToParent: Answer): void {
  process.send?.(answerToParent);
}

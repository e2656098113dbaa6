import { z } from "zod";

import type { SubmitReply, VersionedSubmitReply } from "../../../../../client/src/submit.ts";
import type {
  CancelReply,
  Task,
  TaskBatchBody,
  TaskBatchReply,
  TaskListQuery,
  TaskListReply,
  TaskQuery,
  TaskReply,
} from "../../../../../client/src/tasks.ts";
import { languages } from "../../../models/model.ts";
import { taskErrorCodes } from "../../../models/task-errors.ts";
import type { Agrees, AllTrue } from "../operation.ts";
import { errorReply, warning } from "./errors.ts";

const status = z.enum(["pending", "processing", "completed", "failed", "cancelled"]);
const taskErrorCode = z
  .enum(taskErrorCodes)
  .describe("Why a task or a picture of it failed: a closed list.");
const unixSeconds = z.number().int().nonnegative();
const tokens = z.number().int().nonnegative();

const image = z
  .object({
    index: z
      .number()
      .int()
      .exactOptional()
      .describe("Which of the n pictures; present when some of them failed."),
    url: z.array(z.string()).min(1).describe("Links that work until `expires_at`."),
    expires_at: unixSeconds,
    width: z.number().int().positive(),
    height: z.number().int().positive(),
    bytes: z.number().int().positive(),
    content_type: z.string(),
  })
  .describe("One picture.");

const imageError = z
  .object({ index: z.number().int(), code: taskErrorCode, message: z.string() })
  .describe("What became of a picture that was not delivered.");

const usage = z
  .object({
    input_tokens: tokens,
    output_tokens: tokens,
    total_tokens: tokens,
    input_tokens_details: z
      .object({
        text_tokens: tokens.exactOptional(),
        image_tokens: tokens.exactOptional(),
        cached_tokens: tokens.exactOptional(),
      })
      .exactOptional(),
    output_tokens_details: z
      .object({ text_tokens: tokens.exactOptional(), image_tokens: tokens.exactOptional() })
      .exactOptional(),
  })
  .describe("Tokens, for models that are billed by them.");

const taskError = z.object({
  code: taskErrorCode,
  type: z.string(),
  message: z.string().describe(`In the language asked for: ${languages.join(", ")}.`),
  param: z.string().exactOptional(),
});

export const task = z.object({
  id: z.string(),
  status,
  progress: z.number().int().min(0).max(100).describe("100 on every final status."),
  model: z.string(),
  cost: z.number().describe("USD: the hold while the task runs, then what was charged."),
  credits_cost: z.number().describe("Ten times `cost`."),
  created: unixSeconds,
  completed: unixSeconds.exactOptional(),
  estimated_time: z.number().describe("Seconds that such a task usually takes."),
  actual_time: z.number().nonnegative().exactOptional(),
  result: z
    .object({ images: z.array(image), errors: z.array(imageError).exactOptional() })
    .exactOptional(),
  usage: usage.exactOptional(),
  error: taskError.exactOptional(),
  warnings: z.array(warning).exactOptional(),
  test: z.literal(true).exactOptional().describe("Made with a test key: the cost is play money."),
  cancel_requested: z.literal(true).exactOptional(),
});

const taskReply = z.object({ code: z.literal(200), data: task });

const cancelReply = z.object({ code: z.union([z.literal(200), z.literal(202)]), data: task });

const submitReply = z.object({
  code: z.literal(200),
  data: z.tuple([z.object({ status: z.literal("submitted"), task_id: z.string() })]),
  warnings: z.array(warning).exactOptional(),
});

const versionedSubmitReply = z.object({
  code: z.literal(202),
  request_id: z.string(),
  data: z.object({
    object: z.literal("generation.task"),
    id: z.string(),
    status: z.literal("submitted"),
    poll_url: z.string(),
  }),
  warnings: z.array(warning).exactOptional(),
});

const resultReply = z.object({
  code: z.literal(200),
  request_id: z.string(),
  data: task.extend({ object: z.literal("generation.result") }),
});

const submitOutcome = z
  .union([submitReply, taskReply, resultReply])
  .describe(
    "The id of the task; with `Prefer: wait` the task itself when it has ended in time, under the versioned contract as a `generation.result`.",
  );

const taskListReply = z.object({
  code: z.literal(200),
  data: z.array(task),
  has_more: z.boolean().describe("A page may be short, even empty, while there is more."),
  last_id: z.string().exactOptional().describe("What `after` takes for the next page."),
});

const taskBatchBody = z.object({
  task_ids: z.array(z.string()).max(100),
  language: z.string().optional(),
});

const taskBatchReply = z.object({
  code: z.literal(200),
  data: z
    .array(z.union([task, z.object({ id: z.string(), error: errorReply.shape.error })]))
    .describe("In the asked order: the task, or why there is none."),
});

export const taskSchemas = {
  TaskStatus: status,
  TaskErrorCode: taskErrorCode,
  TaskImage: image,
  TaskImageError: imageError,
  TaskUsage: usage,
  TaskError: taskError,
  Task: task,
  TaskReply: taskReply,
  CancelReply: cancelReply,
  SubmitReply: submitReply,
  VersionedSubmitReply: versionedSubmitReply,
  VersionedResultReply: resultReply,
  SubmitOutcome: submitOutcome,
  TaskListReply: taskListReply,
  TaskBatchBody: taskBatchBody,
  TaskBatchReply: taskBatchReply,
};

export const taskQuery = z.object({
  language: z
    .string()
    .optional()
    .describe(`Language of error texts: ${languages.join(", ")}; anything else reads as en.`),
});

export const taskPollQuery = taskQuery.extend({
  wait: z
    .string()
    .regex(/^([0-9]|[1-5][0-9]|60)$/)
    .optional()
    .describe("Seconds to wait for the end of the task, at most 60."),
});

const time = z.string().optional().describe("Unix seconds or RFC 3339.");

export const taskListQuery = z.object({
  limit: z
    .string()
    .regex(/^([1-9][0-9]?|100)$/)
    .optional()
    .describe("1 to 100; 20 without it."),
  after: z.string().optional().describe("The `last_id` of the page before."),
  status: status.optional(),
  model: z.string().optional(),
  key: z.string().optional().describe("Id of the key that submitted the task."),
  created_after: time,
  created_before: time,
  language: taskQuery.shape.language,
});

export type TaskSchemasAgree = AllTrue<
  [
    Agrees<typeof task, Task>,
    Agrees<typeof taskReply, TaskReply>,
    Agrees<typeof cancelReply, CancelReply>,
    Agrees<typeof submitReply, SubmitReply>,
    Agrees<typeof versionedSubmitReply, VersionedSubmitReply>,
    Agrees<typeof taskQuery, TaskQuery>,
    Agrees<typeof taskListReply, TaskListReply>,
    Agrees<typeof taskListQuery, TaskListQuery>,
    Agrees<typeof taskBatchBody, TaskBatchBody>,
    Agrees<typeof taskBatchReply, TaskBatchReply>,
  ]
>;

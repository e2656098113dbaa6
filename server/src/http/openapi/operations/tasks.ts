import type { Reason } from "../../../lib/errors.ts";
import type { Operation } from "../operation.ts";
import { taskListQuery, taskPollQuery, taskQuery, taskSchemas } from "../schemas/tasks.ts";

export const taskId = {
  description: "Id of the task, as the submit answered it.",
  schema: { type: "string" },
  example: "task_01K8SGYNNNVBQTXNR4MM964S7K",
};

/** Of a POST that needs no body: one that is sent must still be readable. */
export const strayBody: readonly Reason[] = [
  "invalid_json",
  "invalid_body",
  "body_too_large",
  "unsupported_media_type",
  "request_timeout",
];

export const taskOperations: readonly Operation[] = [
  {
    method: "get",
    path: "/v1/tasks/{id}",
    id: "readTask",
    tag: "Images",
    summary: "Read a task",
    description:
      "HTTP 200 for a failed task too; its `error` says why. `Retry-After` is sent until the task has ended.",
    access: "key",
    pathParameters: { id: taskId },
    query: taskPollQuery,
    replies: {
      200: {
        description: "The task as it is now, or at the end of the wait.",
        headers: ["Retry-After"],
        content: {
          schema: taskSchemas.TaskReply,
          examples: { completed: { summary: "A finished task", value: completedReply() } },
        },
      },
    },
    reasons: ["task_not_found", "invalid_parameter"],
  },
  {
    method: "get",
    path: "/v1/tasks/{id}/events",
    id: "followTask",
    tag: "Images",
    summary: "Follow a task as server-sent events",
    description:
      "`task` events with the body of a poll, at every change until the task has ended; comments in between keep the connection open.",
    access: "key",
    pathParameters: { id: taskId },
    query: taskQuery,
    headers: ["Last-Event-ID"],
    replies: {
      200: {
        description: "Events, until the task has ended.",
        content: { mediaType: "text/event-stream", schema: { type: "string" } },
      },
      204: { description: "The task has ended, and the last event has been seen." },
    },
    reasons: ["task_not_found"],
  },
  {
    method: "get",
    path: "/v1/tasks",
    id: "listTasks",
    tag: "Images",
    summary: "List tasks, newest first",
    access: "key",
    query: taskListQuery,
    replies: {
      200: { description: "A page of tasks.", content: { schema: taskSchemas.TaskListReply } },
    },
    reasons: ["invalid_parameter"],
  },
  {
    method: "post",
    path: "/v1/tasks/batch",
    id: "readTasks",
    tag: "Images",
    summary: "Read many tasks",
    access: "key",
    query: taskQuery,
    body: { schema: taskSchemas.TaskBatchBody },
    replies: {
      200: {
        description: "Every task that was asked for, or why there is none.",
        headers: ["Retry-After"],
        content: { schema: taskSchemas.TaskBatchReply },
      },
    },
    reasons: ["missing_parameter", "invalid_parameter"],
  },
  {
    method: "post",
    path: "/v1/tasks/{id}/cancel",
    id: "cancelTask",
    tag: "Images",
    summary: "Cancel a task",
    access: "key",
    pathParameters: { id: taskId },
    query: taskQuery,
    replies: {
      200: {
        description: "Nothing was sent yet: the task is cancelled and free.",
        content: { schema: taskSchemas.CancelReply },
      },
      202: {
        description:
          "No further attempt starts; what the vendor already has runs on, and is charged if it arrives.",
        headers: ["Retry-After"],
        content: { schema: taskSchemas.CancelReply },
      },
    },
    reasons: ["task_not_found", "task_already_ended", ...strayBody],
  },
];

function completedReply() {
  return {
    code: 200,
    data: {
      id: "task_01K8SGYNNNVBQTXNR4MM964S7K",
      status: "completed",
      progress: 100,
      model: "flux-2-pro",
      cost: 0.045,
      credits_cost: 0.45,
      created: 1_785_400_000,
      completed: 1_785_400_021,
      estimated_time: 30,
      actual_time: 21,
      result: {
        images: [
          {
            url: ["https://pictures.example.com/f/1785486421.k1.c2ln/3q2w.png"],
            expires_at: 1_785_486_421,
            width: 1440,
            height: 1440,
            bytes: 1_843_221,
            content_type: "image/png",
          },
        ],
      },
    },
  };
}

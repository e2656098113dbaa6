/** The wire types of tasks. Times are unix seconds, and a field that does not apply is absent. */
import type { ErrorReply } from "./errors.ts";
import type { Warning } from "./submit.ts";

export type TaskStatus = "pending" | "processing" | "completed" | "failed" | "cancelled";

export type TaskErrorCode =
  | "content_policy_violation"
  | "invalid_reference_image"
  | "invalid_mask"
  | "provider_rejected"
  | "provider_unavailable"
  | "generation_timeout"
  | "no_image"
  | "outcome_unknown"
  | "cancelled"
  | "internal_error";

export type TaskError = {
  code: TaskErrorCode;
  type: string;
  /** In the language asked for. */
  message: string;
  param?: string;
};

export type TaskImage = {
  /** Which of the n pictures this is; present when some of them failed. */
  index?: number;
  /** Links that work until `expires_at`. */
  url: string[];
  expires_at: number;
  width: number;
  height: number;
  bytes: number;
  content_type: string;
};

/** What became of a picture that was not delivered. */
export type TaskImageError = { index: number; code: TaskErrorCode; message: string };

export type TaskResult = {
  images: TaskImage[];
  errors?: TaskImageError[];
};

/** Tokens, for models billed by them. */
export type TaskUsage = {
  input_tokens: number;
  output_tokens: number;
  total_tokens: number;
  input_tokens_details?: { text_tokens?: number; image_tokens?: number; cached_tokens?: number };
  output_tokens_details?: { text_tokens?: number; image_tokens?: number };
};

export type Task = {
  id: string;
  status: TaskStatus;
  /** 0 to 100; 100 on every final status. */
  progress: number;
  model: string;
  /** The hold while the task runs, then what was charged. */
  cost: number;
  credits_cost: number;
  created: number;
  completed?: number;
  /** Seconds that such a task usually takes. */
  estimated_time: number;
  /** Seconds from `created` to `completed`. */
  actual_time?: number;
  result?: TaskResult;
  usage?: TaskUsage;
  error?: TaskError;
  warnings?: readonly Warning[];
  /** Made with a test key: the cost is play money. */
  test?: true;
  cancel_requested?: true;
};

export type TaskQuery = {
  /** Language of error texts: en zh ja ko ru fr de id pt es; anything else reads as en. */
  language?: string | undefined;
};

/** HTTP 200, also for a failed task. */
export type TaskReply = { code: 200; data: Task };

/** `GET /v1/tasks`: newest first. */
export type TaskListQuery = {
  /** 1 to 100; 20 without it. */
  limit?: string | undefined;
  /** The `last_id` of the page before. */
  after?: string | undefined;
  status?: TaskStatus | undefined;
  model?: string | undefined;
  /** Id of the key that submitted it. */
  key?: string | undefined;
  /** Unix seconds or RFC 3339; `created_after ≤ created < created_before`. */
  created_after?: string | undefined;
  created_before?: string | undefined;
  language?: string | undefined;
};

export type TaskListReply = {
  code: 200;
  data: readonly Task[];
  /** A page may be shorter than `limit`, even empty, while there is more. */
  has_more: boolean;
  /** What `after` takes for the next page; absent when there was nothing to look through. */
  last_id?: string;
};

/** `POST /v1/tasks/batch`. */
export type TaskBatchBody = {
  /** At most 100. */
  task_ids: readonly string[];
  language?: string | undefined;
};

/** In the asked order: the task, or why there is none. */
export type TaskBatchReply = {
  code: 200;
  data: readonly (Task | { id: string; error: ErrorReply["error"] })[];
};

/** 200: cancelled, free of charge. 202: what the vendor already has runs on; nothing further starts. */
export type CancelReply = { code: 200 | 202; data: Task };

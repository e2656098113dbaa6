/** The wire types of `POST /v1/images/generations`. */
import type { Task } from "./tasks.ts";

/** Fields that most models take; what each model accepts is in `GET /v1/models/{id}/schema`. */
export type SubmitBody = {
  model: string;
  prompt: string;
  size?: string;
  resolution?: string;
  quality?: string;
  n?: number;
  image_urls?: string[];
  mask_url?: string;
  official_fallback?: boolean;
  /** Base address; the finished task is posted to this address + `/callback`. */
  webhook?: string;
  /** Language of the error text that is sent to the webhook. */
  language?: string;
  [field: string]: unknown;
};

/** A parameter that was treated as the model's contract says rather than as it was written. */
export type Warning = {
  param: string;
  code: "ignored" | "clamped" | "lowered";
  message: string;
};

/** HTTP 200. */
export type SubmitReply = {
  code: 200;
  data: [{ status: "submitted"; task_id: string }];
  warnings?: readonly Warning[];
};

/** HTTP 202, under the versioned contract. */
export type VersionedSubmitReply = {
  code: 202;
  request_id: string;
  data: { object: "generation.task"; id: string; status: "submitted"; poll_url: string };
  warnings?: readonly Warning[];
};

/** HTTP 200, under the versioned contract, to a submit with `Prefer: wait` whose task ended in time. */
export type VersionedResultReply = {
  code: 200;
  request_id: string;
  data: { object: "generation.result" } & Task;
};

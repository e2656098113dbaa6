import type { Model } from "../../../models/row.ts";
import { bflModels } from "../../dialects/bfl.ts";
import type { Operation } from "../operation.ts";
import { bflQuery, bflSchemas } from "../schemas/bfl.ts";
import { submitReasons } from "./openai.ts";

const shared = {
  tag: "BFL",
  access: "key",
  keyHeader: "x-key",
  errorSchema: bflSchemas.BflError,
} as const;

export function bflOperations(models: readonly Model[]): Operation[] {
  return [
    ...bflModels(models).map(({ id }): Operation => ({
      ...shared,
      method: "post",
      path: `/v1/${id}`,
      id: `bflSubmit_${id.replaceAll(/[^A-Za-z0-9]/g, "_")}`,
      summary: `Submit a task of ${id}`,
      headers: ["Idempotency-Key"],
      body: { schema: bflSchemas.BflBody },
      replies: {
        200: {
          description: "The task is accepted; its pictures are polled for.",
          headers: ["Idempotency-Replayed"],
          content: { schema: bflSchemas.BflSubmitted },
        },
      },
      reasons: submitReasons,
    })),
    {
      ...shared,
      method: "get",
      path: "/v1/get_result",
      id: "bflReadResult",
      summary: "Read a task",
      query: bflQuery,
      replies: {
        200: {
          description: "The task as it is now; with status 200 when it has failed, too.",
          content: { schema: bflSchemas.BflResult },
        },
      },
      reasons: ["task_not_found"],
    },
  ];
}

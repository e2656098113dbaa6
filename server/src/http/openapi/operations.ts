/** Every operation and every named schema of the document; a room of routes is a line in each list. */
import type { Model } from "../../models/row.ts";
import type { NamedSchemas, Operation } from "./operation.ts";
import { accountOperations } from "./operations/account.ts";
import { bflOperations } from "./operations/bfl.ts";
import { geminiOperations } from "./operations/gemini.ts";
import { modelOperations } from "./operations/models.ts";
import { openAiOperations } from "./operations/openai.ts";
import { serviceOperations } from "./operations/service.ts";
import { submitOperations } from "./operations/submit.ts";
import { taskOperations } from "./operations/tasks.ts";
import { uploadOperations } from "./operations/uploads.ts";
import { webhookOperations } from "./operations/webhooks.ts";
import { accountSchemas } from "./schemas/account.ts";
import { bflSchemas } from "./schemas/bfl.ts";
import { errorSchemas } from "./schemas/errors.ts";
import { geminiSchemas } from "./schemas/gemini.ts";
import { modelSchemas } from "./schemas/models.ts";
import { openAiSchemas } from "./schemas/openai.ts";
import { taskSchemas } from "./schemas/tasks.ts";
import { webhookSchemas } from "./schemas/webhooks.ts";
import { submitSchemas } from "./submit-schemas.ts";

export function listOperations(models: readonly Model[]): Operation[] {
  return [
    ...submitOperations(models),
    ...taskOperations,
    ...modelOperations(models),
    ...uploadOperations,
    ...accountOperations,
    ...webhookOperations,
    ...openAiOperations,
    ...geminiOperations,
    ...bflOperations(models),
    ...serviceOperations,
  ];
}

export function namedSchemas(models: readonly Model[]): NamedSchemas {
  return {
    ...errorSchemas,
    ...taskSchemas,
    ...modelSchemas,
    ...accountSchemas,
    ...webhookSchemas,
    ...openAiSchemas,
    ...geminiSchemas,
    ...bflSchemas,
    ...submitSchemas(models),
  };
}

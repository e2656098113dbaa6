import type { FastifyInstance, FastifyRequest } from "fastify";

import type { ModelSchemaReply } from "../../../client/src/models.ts";
import type { PriceOverrides } from "../billing/prices.ts";
import type { JsonObject } from "../lib/json.ts";
import { secondMs } from "../lib/time.ts";
import type { Catalogue } from "../models/catalogue.ts";
import { inputSchema } from "../models/input-schema.ts";
import { presentModel, presentModelDetail } from "../models/present.ts";
import type { Model } from "../models/row.ts";
import type { Auth } from "./auth.ts";
import { responseVersion, responseVersionHeader } from "./headers.ts";
import { idempotencyHeader, replayedHeader } from "./idempotency.ts";
import { callerOf } from "./request.ts";
import { modelListQuery, modelSchemaQuery, parseQuery } from "./schemas.ts";

export type ModelsDeps = {
  auth: Auth;
  catalogue: Pick<Catalogue, "list" | "load">;
  /** The prices that the operator has set, by model. */
  loadPrices: () => Promise<PriceOverrides>;
  /** How long idempotency keys are kept. */
  idempotencyTtlMs: number;
};

type ModelRoute = { Params: { id: string } };

export function registerModels(app: FastifyInstance, deps: ModelsDeps): void {
  const onRequest = [deps.auth.identify, deps.auth.limit];
  app.get("/v1/models", { onRequest }, (request) => listModels(deps, request));
  app.get<ModelRoute>("/v1/models/:id", { onRequest }, (request) =>
    showModel(deps, request, request.params.id),
  );
  app.get<ModelRoute>("/v1/models/:id/schema", { onRequest }, (request) =>
    showSchema(deps, request.params.id),
  );
  app.get("/v1/model-schema", { onRequest }, (request) =>
    showSchema(deps, parseQuery(modelSchemaQuery, request.query).model),
  );
}

async function listModels(deps: ModelsDeps, request: FastifyRequest): Promise<JsonObject> {
  const words = parseExpansion(parseQuery(modelListQuery, request.query).expand ?? "");
  const parameters = words.includes("parameters");
  const pricingOf = words.includes("pricing") ? await loadPricing(deps, request) : null;
  const data = deps.catalogue
    .list()
    .map((model) =>
      presentModel(model, { parameters, ...(pricingOf && { pricing: pricingOf(model) }) }),
    );
  return { success: true, object: "list", data };
}

async function showModel(
  deps: ModelsDeps,
  request: FastifyRequest,
  id: string,
): Promise<JsonObject> {
  const model = deps.catalogue.load(id);
  const pricingOf = await loadPricing(deps, request);
  return presentModelDetail(model, pricingOf(model));
}

type Pricing = { overrides: ReadonlyMap<string, number>; ratioPpm: number };

/** Prices as this caller pays them. */
async function loadPricing(
  deps: ModelsDeps,
  request: FastifyRequest,
): Promise<(model: Model) => Pricing> {
  const prices = await deps.loadPrices();
  const { ratioPpm } = callerOf(request);
  return ({ id }) => ({ overrides: prices.get(id) ?? new Map(), ratioPpm });
}

/** Existing clients also ask for parts that Darkroom does not have, such as `category`; those add nothing. */
function parseExpansion(text: string): string[] {
  return text.split(",").map((word) => word.trim());
}

/** The fields are those that existing clients read before every submit. */
function showSchema(deps: ModelsDeps, id: string): ModelSchemaReply {
  const model = deps.catalogue.load(id);
  return {
    object: "model.input_schema",
    model: model.id,
    operation: "image_generation",
    endpoint: { method: "POST", path: "/v1/images/generations" },
    schema_version: "2026-07-30",
    source: "catalogue",
    idempotency: {
      header: idempotencyHeader,
      replay_header: replayedHeader,
      required: false,
      retention_seconds: Math.round(deps.idempotencyTtlMs / secondMs),
      scope: "account_endpoint",
    },
    response_contract: { header: responseVersionHeader, version: responseVersion },
    input_schema: inputSchema(model),
  };
}

/** The wire types of `GET /v1/models` and of what it says of each. */
import type { ResponseVersion } from "./errors.ts";

export type JsonSchema = { [keyword: string]: unknown };

export type ModelListQuery = {
  /** Comma list of `parameters` and `pricing`. */
  expand?: string | undefined;
};

export type ModelSchemaQuery = {
  model: string;
  operation?: "image_generation" | undefined;
};

export type ModelDocsQuery = { model: string };

export type ModelParameters = {
  method: "POST";
  endpoint: "/v1/images/generations";
  operation: "image_generation";
  input_schema: JsonSchema;
};

export type ModelPricing = {
  currency: "USD";
  /** How the price is found, in words. */
  billing: string;
  /** Prices as the caller pays them; null where nobody has set one. */
  rows: readonly { row: string; tier: string; unit: string; price: number | null }[];
};

/** One entry of the list. */
export type Model = {
  id: string;
  object: "model";
  created: number;
  owned_by: string;
  supported_endpoint_types: readonly string[];
  parameters?: ModelParameters;
  pricing?: ModelPricing;
};

/** `GET /v1/models/{id}`. */
export type ModelDetail = Model & {
  description: string;
  modes: readonly string[];
  image_to_image: boolean;
  inpainting: boolean;
  /** Largest `n`. */
  max_images: number;
  max_references: number;
  billing: string;
  estimated_time: number;
  notes: readonly string[];
  parameters: ModelParameters;
  pricing: ModelPricing;
};

export type ModelListReply = { success: true; object: "list"; data: readonly Model[] };

export type ModelSchemaReply = {
  object: "model.input_schema";
  model: string;
  operation: "image_generation";
  endpoint: { method: "POST"; path: "/v1/images/generations" };
  schema_version: string;
  source: string;
  idempotency: {
    header: "Idempotency-Key";
    replay_header: "Idempotency-Replayed";
    required: false;
    retention_seconds: number;
    scope: string;
  };
  response_contract: { header: "X-APIMart-Response-Version"; version: ResponseVersion };
  input_schema: JsonSchema;
};

/** `GET /v1/model-docs`: the page of one model. */
export type ModelDocsReply = {
  object: "model.documentation";
  model: string;
  doc_url: string;
  markdown_url: string;
  markdown: string;
  /** When the page was written: now, for it is made from the catalogue in force. */
  fetched_at: number;
  cache_ttl_seconds: number;
  /** Always false: nothing is fetched that could be out of date. */
  stale: boolean;
};

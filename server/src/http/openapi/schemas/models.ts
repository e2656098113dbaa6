import { z } from "zod";

import type {
  Model,
  ModelDetail,
  ModelDocsReply,
  ModelListReply,
  ModelSchemaReply,
} from "../../../../../client/src/models.ts";
import type {
  EstimateReply,
  MarketplaceModel,
  MarketplaceReply,
  PublicPrice,
  PublicPriceReply,
} from "../../../../../client/src/pricing.ts";
import { responseVersion, responseVersionHeader } from "../../headers.ts";
import { idempotencyHeader, replayedHeader } from "../../idempotency.ts";
import type { Agrees, AllTrue } from "../operation.ts";
import { warning } from "./errors.ts";

const jsonSchema = z.record(z.string(), z.unknown()).describe("JSON Schema, draft 2020-12.");
const endpointPath = z.literal("/v1/images/generations");
const usd = z.number().nullable().describe("USD; null where nobody has set a price.");

const parameters = z.object({
  method: z.literal("POST"),
  endpoint: endpointPath,
  operation: z.literal("image_generation"),
  input_schema: jsonSchema,
});

const pricing = z.object({
  currency: z.literal("USD"),
  billing: z.string().describe("How the price is found, in words."),
  rows: z.array(
    z.object({ row: z.string(), tier: z.string(), unit: z.string(), price: z.number().nullable() }),
  ),
});

const listed = {
  id: z.string(),
  object: z.literal("model"),
  created: z.number().int(),
  owned_by: z.string(),
  supported_endpoint_types: z.array(z.string()),
};

const model = z.object({
  ...listed,
  parameters: parameters.exactOptional(),
  pricing: pricing.exactOptional(),
});

const modelDetail = z.object({
  ...listed,
  description: z.string(),
  modes: z.array(z.string()),
  image_to_image: z.boolean(),
  inpainting: z.boolean(),
  max_images: z.number().int().describe("Largest `n`."),
  max_references: z.number().int(),
  billing: z.string(),
  estimated_time: z.number(),
  notes: z.array(z.string()),
  parameters,
  pricing,
});

const modelList = z.object({
  success: z.literal(true),
  object: z.literal("list"),
  data: z.array(model),
});

const modelSchema = z.object({
  object: z.literal("model.input_schema"),
  model: z.string(),
  operation: z.literal("image_generation"),
  endpoint: z.object({ method: z.literal("POST"), path: endpointPath }),
  schema_version: z.string(),
  source: z.string(),
  idempotency: z.object({
    header: z.literal(idempotencyHeader),
    replay_header: z.literal(replayedHeader),
    required: z.literal(false),
    retention_seconds: z.number().int(),
    scope: z.string(),
  }),
  response_contract: z.object({
    header: z.literal(responseVersionHeader),
    version: z.literal(responseVersion),
  }),
  input_schema: jsonSchema,
});

const modelDocs = z.object({
  object: z.literal("model.documentation"),
  model: z.string(),
  doc_url: z.string(),
  markdown_url: z.string(),
  markdown: z.string(),
  fetched_at: z.number().int().describe("Unix seconds."),
  cache_ttl_seconds: z.number().int(),
  stale: z.boolean(),
});

const billingType = z.enum(["per_image", "token"]);

const publicPrice = z.object({
  model_name: z.string(),
  billing_type: billingType,
  model_price: usd.describe(
    "One picture with every parameter at its default; for models billed by token an estimate. Null where nobody has set a price.",
  ),
  discount_rate: z.number(),
  resolution_enabled: z.boolean(),
  supported_sizes: z.array(z.string()),
  supported_qualities: z.array(z.string()),
  size_quality_prices: z.record(z.string(), z.record(z.string(), usd)),
  resolution_prices: z.record(z.string(), usd),
  official_prices: z
    .record(z.string(), usd)
    .exactOptional()
    .describe("What a picture of an official channel costs, with `official_fallback`."),
  reference_price: usd.exactOptional(),
  token_prices: z.record(z.string(), usd).exactOptional().describe("USD a million tokens."),
});

const publicPriceReply = z.object({ success: z.literal(true), data: publicPrice });

const marketplaceModel = z.object({
  id: z.string(),
  model_name: z.string(),
  display_name: z.string(),
  description: z.string(),
  media_type: z.literal("image"),
  detail_url: z.string(),
  tags: z.array(z.string()),
  vendor: z.object({ id: z.string(), name: z.string(), icon: z.string() }),
  pricing: z.object({
    starting_price: usd,
    discount_rate: z.number(),
    credits_per_generation: z.number().nullable(),
    billing_type: billingType,
    price_unit: z.enum(["image", "million_tokens"]),
    has_price: z.boolean(),
    input_price: usd.exactOptional(),
    output_price: usd.exactOptional(),
  }),
  call_count: z.number().int().describe("Always 0."),
  discount_percent: z.number(),
});

const marketplaceReply = z.object({
  success: z.literal(true),
  data: z.object({
    total: z.number().int(),
    page: z.number().int(),
    page_size: z.number().int(),
    models: z.array(marketplaceModel),
  }),
});

const estimateReply = z.object({
  code: z.literal(200),
  data: z.object({
    model: z.string(),
    currency: z.literal("USD"),
    hold: z.number().nonnegative().describe("USD that a submit would hold: the dearest outcome."),
    likely: z.number().nonnegative().describe("USD that it will probably cost."),
    warnings: z.array(warning),
  }),
});

export const modelSchemas = {
  ModelParameters: parameters,
  ModelPricing: pricing,
  Model: model,
  ModelDetail: modelDetail,
  ModelListReply: modelList,
  ModelSchemaReply: modelSchema,
  ModelDocsReply: modelDocs,
  PublicPrice: publicPrice,
  PublicPriceReply: publicPriceReply,
  MarketplaceModel: marketplaceModel,
  MarketplaceReply: marketplaceReply,
  EstimateReply: estimateReply,
};

export type ModelSchemasAgree = AllTrue<
  [
    Agrees<typeof model, Model>,
    Agrees<typeof modelDetail, ModelDetail>,
    Agrees<typeof modelList, ModelListReply>,
    Agrees<typeof modelSchema, ModelSchemaReply>,
    Agrees<typeof modelDocs, ModelDocsReply>,
    Agrees<typeof publicPrice, PublicPrice>,
    Agrees<typeof publicPriceReply, PublicPriceReply>,
    Agrees<typeof marketplaceModel, MarketplaceModel>,
    Agrees<typeof marketplaceReply, MarketplaceReply>,
    Agrees<typeof estimateReply, EstimateReply>,
  ]
>;

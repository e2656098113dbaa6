import type { Model } from "../../../models/row.ts";
import {
  marketplaceQuery,
  modelDocsQuery,
  modelListQuery,
  modelSchemaQuery,
  publicPriceQuery,
} from "../../schemas.ts";
import type { Operation, PathParameter } from "../operation.ts";
import { modelSchemas } from "../schemas/models.ts";

export function modelOperations(models: readonly Model[]): Operation[] {
  const id: PathParameter = {
    description: "Id of the model.",
    schema: { type: "string", examples: models.map((model) => model.id) },
    ...(models[0] === undefined ? {} : { example: models[0].id }),
  };
  return [...catalogueOperations(id), ...publicOperations(id)];
}

function catalogueOperations(id: PathParameter): Operation[] {
  const shared = { method: "get", tag: "Models", access: "key" } as const;
  const schema = {
    description: "The schema that a submit of this model is held against, and how to send one.",
    content: { schema: modelSchemas.ModelSchemaReply },
  };
  return [
    {
      ...shared,
      path: "/v1/models",
      id: "listModels",
      summary: "List the models",
      description: "`expand=parameters,pricing` adds the input schema and the caller's prices.",
      query: modelListQuery,
      replies: {
        200: { description: "All models.", content: { schema: modelSchemas.ModelListReply } },
      },
      reasons: ["invalid_parameter"],
    },
    {
      ...shared,
      path: "/v1/models/{id}",
      id: "readModel",
      summary: "Read a model",
      pathParameters: { id },
      replies: {
        200: {
          description: "All there is to say about the model, with the caller's prices.",
          content: { schema: modelSchemas.ModelDetail },
        },
      },
      reasons: ["model_not_found"],
    },
    {
      ...shared,
      path: "/v1/models/{id}/schema",
      id: "readModelSchema",
      summary: "Read a model's input schema",
      pathParameters: { id },
      replies: { 200: schema },
      reasons: ["model_not_found"],
    },
    {
      ...shared,
      path: "/v1/model-schema",
      id: "findModelSchema",
      summary: "Read a model's input schema, by query",
      query: modelSchemaQuery,
      replies: { 200: schema },
      reasons: ["missing_parameter", "invalid_parameter", "model_not_found"],
    },
    {
      ...shared,
      path: "/v1/model-docs",
      id: "readModelDocs",
      summary: "Read a model's page, as Markdown in JSON",
      query: modelDocsQuery,
      replies: {
        200: {
          description: "The page, and where it stands by itself.",
          content: { schema: modelSchemas.ModelDocsReply },
        },
      },
      reasons: ["missing_parameter", "invalid_parameter", "model_not_found"],
    },
  ];
}

function publicOperations(id: PathParameter): Operation[] {
  const shared = { method: "get", tag: "Models", access: "open" } as const;
  return [
    {
      ...shared,
      path: "/api/pricing/model",
      id: "readPublicPrice",
      summary: "Read a model's list prices",
      description: "The prices in force, in USD, before an account's own ratio.",
      query: publicPriceQuery,
      replies: {
        200: {
          description: "The model's prices.",
          content: { schema: modelSchemas.PublicPriceReply },
        },
      },
      reasons: ["missing_parameter", "invalid_parameter", "model_not_found"],
    },
    {
      ...shared,
      path: "/api/marketplace/models",
      id: "listMarketplaceModels",
      summary: "List the models with their starting prices",
      query: marketplaceQuery,
      replies: {
        200: {
          description: "A page of the models; empty past the last.",
          content: { schema: modelSchemas.MarketplaceReply },
        },
      },
      reasons: ["invalid_parameter"],
    },
    {
      ...shared,
      path: "/docs/models/{id}.md",
      route: "/docs/models/:file",
      id: "readModelPage",
      summary: "Read a model's page",
      pathParameters: { id },
      replies: {
        200: {
          description: "Parameters, pixels, prices and examples.",
          content: { mediaType: "text/markdown", schema: { type: "string" } },
        },
      },
      reasons: ["model_not_found"],
    },
  ];
}

/**
 * Queries as the wire types say them. Bodies of a submit are not here: `models/` validates them by
 * the rows of the catalogue.
 */
import { z } from "zod";

import type { ErrorReason } from "../../../client/src/errors.ts";
import type {
  ModelDocsQuery,
  ModelListQuery,
  ModelSchemaQuery,
} from "../../../client/src/models.ts";
import type { MarketplaceQuery, PublicPriceQuery } from "../../../client/src/pricing.ts";
import type { Warning as WireWarning } from "../../../client/src/submit.ts";
import type { Reason } from "../lib/errors.ts";
import { AppError } from "../lib/errors.ts";
import type { Language, Warning } from "../models/model.ts";
import { languages } from "../models/model.ts";
import { show } from "../models/words.ts";

export const modelListQuery = z.object({ expand: z.string().optional() });

const modelId = z.string().min(1, "use the id of a model; GET /v1/models lists all of them");

export const modelSchemaQuery = z.object({
  model: modelId,
  operation: z
    .literal("image_generation", { error: "use image_generation, or leave it out" })
    .optional(),
});

export const modelDocsQuery = z.object({ model: modelId });

export const publicPriceQuery = z.object({ model: modelId });

export const marketplaceQuery = z.object({
  page: z
    .string()
    .regex(/^[1-9][0-9]{0,5}$/, "use a whole number from 1")
    .optional(),
  page_size: z
    .string()
    .regex(/^([1-9][0-9]?|100)$/, "use a whole number from 1 to 100")
    .optional(),
});

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
type AllTrue<T extends readonly true[]> = T;

/** Does not compile while the wire types say something else than the server. */
export type WireTypesAgree = AllTrue<
  [
    Same<z.output<typeof modelListQuery>, ModelListQuery>,
    Same<z.output<typeof modelSchemaQuery>, ModelSchemaQuery>,
    Same<z.output<typeof modelDocsQuery>, ModelDocsQuery>,
    Same<z.output<typeof publicPriceQuery>, PublicPriceQuery>,
    Same<z.output<typeof marketplaceQuery>, MarketplaceQuery>,
    Same<Reason, ErrorReason>,
    Same<Warning, WireWarning>,
  ]
>;

/** Parses a query. Throws `missing_parameter` or `invalid_parameter` for the first field at fault. */
export function parseQuery<T>(schema: z.ZodType<T>, query: unknown): T {
  const result = schema.safeParse(query);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const param = String(issue?.path[0] ?? "query");
  const isMissing = typeof query === "object" && query !== null && !Object.hasOwn(query, param);
  if (isMissing) {
    throw new AppError("missing_parameter", `query parameter ${param} is missing`, { param });
  }
  const value: unknown = Object.entries(query ?? {}).find(([name]) => name === param)?.[1];
  const problem = Array.isArray(value)
    ? "is given more than once; send it once"
    : `${typeof value === "string" ? `${show(value)} ` : ""}is not valid: ${issue?.message ?? "it is not known"}`;
  throw new AppError("invalid_parameter", `query parameter ${param} ${problem}`, { param });
}

/** The language of error texts: trimmed, in any letter case; everything that is not one reads as `en`. */
export function parseLanguage(value: unknown): Language {
  if (typeof value !== "string") return "en";
  const word = value.trim().toLowerCase();
  return languages.find((language) => language === word) ?? "en";
}

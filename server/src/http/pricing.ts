/** The price pages of existing clients: open to anybody, list prices in force, nothing of an account. */
import type { FastifyInstance, FastifyRequest } from "fastify";

import type { MarketplaceReply, PublicPriceReply } from "../../../client/src/pricing.ts";
import type { PriceOverrides } from "../billing/prices.ts";
import type { Clock } from "../lib/time.ts";
import { secondMs } from "../lib/time.ts";
import type { Catalogue } from "../models/catalogue.ts";
import { presentMarketplaceModel, presentPublicPrice } from "../models/public-prices.ts";
import { marketplaceQuery, parseQuery, publicPriceQuery } from "./schemas.ts";

export type PublicPrices = { load(): Promise<PriceOverrides> };

export type PricingDeps = {
  catalogue: Pick<Catalogue, "list" | "load">;
  publicPrices: PublicPrices;
  publicUrl: () => string;
};

const pageSizeDefault = 20;
/** Prices as old as this may be shown to everybody. */
const reuseMs = secondMs;

export function registerPricing(app: FastifyInstance, deps: PricingDeps): void {
  app.get("/api/pricing/model", (request) => showPrice(deps, request));
  app.get("/api/marketplace/models", (request) => listMarketplace(deps, request));
}

/** Anybody may ask, so the database is read at most once a second; callers meanwhile share the answer. */
export function createPublicPrices(deps: {
  clock: Pick<Clock, "monotonic">;
  loadPrices: () => Promise<PriceOverrides>;
}): PublicPrices {
  let latest: { loadedAt: number; prices: Promise<PriceOverrides> } | null = null;
  return {
    load: () => {
      const now = deps.clock.monotonic();
      if (latest === null || now - latest.loadedAt >= reuseMs) {
        const loaded = { loadedAt: now, prices: deps.loadPrices() };
        latest = loaded;
        // A failure is not kept.
        loaded.prices.catch(() => {
          if (latest === loaded) latest = null;
        });
      }
      return latest.prices;
    },
  };
}

async function showPrice(deps: PricingDeps, request: FastifyRequest): Promise<PublicPriceReply> {
  const model = deps.catalogue.load(parseQuery(publicPriceQuery, request.query).model);
  const prices = await deps.publicPrices.load();
  return { success: true, data: presentPublicPrice(model, prices.get(model.id) ?? new Map()) };
}

async function listMarketplace(
  deps: PricingDeps,
  request: FastifyRequest,
): Promise<MarketplaceReply> {
  const query = parseQuery(marketplaceQuery, request.query);
  const page = Number(query.page ?? 1);
  const pageSize = Number(query.page_size ?? pageSizeDefault);
  const prices = await deps.publicPrices.load();
  const models = deps.catalogue.list();
  const shown = models.slice((page - 1) * pageSize, page * pageSize);
  return {
    success: true,
    data: {
      total: models.length,
      page,
      page_size: pageSize,
      models: shown.map((model) =>
        presentMarketplaceModel(
          model,
          prices.get(model.id) ?? new Map(),
          `${deps.publicUrl()}/docs/models/${model.id}.md`,
        ),
      ),
    },
  };
}

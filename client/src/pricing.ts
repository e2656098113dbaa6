/** The wire types of prices and estimates. Money is USD. */
import type { Warning } from "./submit.ts";

export type PublicPriceQuery = { model: string };

/** List prices in force, in USD, before an account's own ratio; null where nobody has set one. */
export type PublicPrice = {
  model_name: string;
  billing_type: "per_image" | "token";
  /** One picture with every parameter at its default; for models billed by token an estimate. */
  model_price: number | null;
  /** Always 1: prices are what is charged. */
  discount_rate: number;
  resolution_enabled: boolean;
  supported_sizes: readonly string[];
  supported_qualities: readonly string[];
  /** By size, then by quality. */
  size_quality_prices: { [size: string]: { [quality: string]: number | null } };
  resolution_prices: { [resolution: string]: number | null };
  /** What an official channel charges, by the same keys joined with `/`; with `official_fallback` only. */
  official_prices?: { [row: string]: number | null };
  /** What each reference adds to every picture. */
  reference_price?: number | null;
  /** USD a million tokens. */
  token_prices?: { [kind: string]: number | null };
};

export type PublicPriceReply = { success: true; data: PublicPrice };

export type MarketplaceQuery = {
  /** From 1. */
  page?: string | undefined;
  /** 1 to 100; 20 without it. */
  page_size?: string | undefined;
};

export type MarketplaceModel = {
  id: string;
  model_name: string;
  display_name: string;
  description: string;
  media_type: "image";
  detail_url: string;
  tags: readonly string[];
  vendor: { id: string; name: string; icon: string };
  pricing: {
    /** The cheapest picture; for models billed by token an estimate. */
    starting_price: number | null;
    discount_rate: number;
    credits_per_generation: number | null;
    billing_type: "per_image" | "token";
    price_unit: "image" | "million_tokens";
    has_price: boolean;
    /** USD a million tokens of input and of picture. */
    input_price?: number | null;
    output_price?: number | null;
  };
  /** Always 0: how much a model is used is nobody else's business. */
  call_count: number;
  discount_percent: number;
};

export type MarketplaceReply = {
  success: true;
  data: {
    total: number;
    page: number;
    page_size: number;
    models: readonly MarketplaceModel[];
  };
};

/** What a submit would hold and probably cost, in USD; nothing is made. */
export type EstimateReply = {
  code: 200;
  data: {
    model: string;
    currency: "USD";
    hold: number;
    likely: number;
    warnings: readonly Warning[];
  };
};

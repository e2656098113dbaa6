/**
 * What vendors that bill by token charge, in micro-USD per million tokens, by upstream model. Only for
 * our own books: callers pay by `models/`. Figures of the vendors' price pages of autumn 2026; names
 * that are not here are estimated from the list price of the task.
 */
import type { Micros } from "../lib/money.ts";
import { microsPerUsd } from "../lib/money.ts";

export type TokenRates = {
  textInput: Micros;
  imageInput: Micros;
  textOutput: Micros;
  imageOutput: Micros;
};

const rates: Readonly<Record<string, TokenRates>> = {
  "gpt-image-1": usd({ textInput: 5, imageInput: 10, textOutput: 0, imageOutput: 40 }),
  "gpt-image-1.5": usd({ textInput: 5, imageInput: 8, textOutput: 10, imageOutput: 32 }),
  "gpt-image-1-mini": usd({ textInput: 2, imageInput: 2.5, textOutput: 0, imageOutput: 8 }),
  // The vendor names no price for text output of these; image output is what they report.
  "gpt-image-2": usd({ textInput: 5, imageInput: 8, textOutput: 0, imageOutput: 30 }),
  "gpt-image-2.5-flare": usd({ textInput: 5, imageInput: 8, textOutput: 0, imageOutput: 30 }),
  "gpt-image-2.5-sunburst": usd({ textInput: 5, imageInput: 8, textOutput: 0, imageOutput: 30 }),
  "gpt-image-2.6-flare": usd({ textInput: 5, imageInput: 8, textOutput: 0, imageOutput: 30 }),
  "gpt-image-2.6-sunburst": usd({ textInput: 5, imageInput: 8, textOutput: 0, imageOutput: 30 }),
  "gemini-2.5-flash-image": usd(gemini(0.3, 2.5, 30)),
  "gemini-3.1-flash-lite-image": usd(gemini(0.25, 1.5, 30)),
  "gemini-3.1-flash-image": usd(gemini(0.5, 3, 60)),
  "gemini-nano-banana-2.1": usd(gemini(1.5, 7.5, 30)),
  "gemini-3-pro-image": usd(gemini(2, 12, 120)),
};

/** The rates of an upstream model, or null where the vendor bills otherwise or nobody knows. */
export function findRates(upstreamModel: string): TokenRates | null {
  // A dated name, as in `gpt-image-2-2026-04-21`, is a snapshot of the model at its price.
  const name = upstreamModel.replace(/-\d{4}-\d{2}-\d{2}$/, "");
  return Object.hasOwn(rates, name) ? (rates[name] ?? null) : null;
}

/** One rate for all that goes in. */
function gemini(input: number, textOutput: number, imageOutput: number): TokenRates {
  return { textInput: input, imageInput: input, textOutput, imageOutput };
}

/** From USD, as the vendors print them. */
function usd(printed: TokenRates): TokenRates {
  return {
    textInput: Math.round(printed.textInput * microsPerUsd),
    imageInput: Math.round(printed.imageInput * microsPerUsd),
    textOutput: Math.round(printed.textOutput * microsPerUsd),
    imageOutput: Math.round(printed.imageOutput * microsPerUsd),
  };
}

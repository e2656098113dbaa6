import { withPortraits } from "./ratios.ts";
import { mebibyte } from "./row.ts";
import type { Model } from "./row.ts";

const flex: Model = {
  id: "flux-2-flex",
  family: "flux-2",
  provider: "bfl",
  upstreamModel: "flux-2-flex",
  ownedBy: "black-forest-labs",
  description: "FLUX.2 flex: for quick rounds of trial.",
  notes: [
    "References must be public, stable URLs; files go through POST /v1/uploads/images first.",
    "Links to results work for 24 hours by default.",
  ],
  billing: "Per picture, by resolution",
  estimatedSeconds: 30,
  prompt: { codePointsMax: 32_000 },
  pictures: { max: 1, outside: "refused" },
  references: {
    countMax: 8,
    bytesMax: 20 * mebibyte,
    pixelsMax: 50_000_000,
    accepts: ["url"],
  },
  mask: null,
  officialFallback: false,
  parameters: [
    {
      type: "choice",
      name: "size",
      description: "Aspect ratio.",
      values: ["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3"],
      default: "1:1",
    },
    {
      type: "choice",
      name: "resolution",
      description: "Resolution tier: 1K is about 1080p, 2K up to 2048 pixels a side.",
      values: ["1K", "2K"],
      default: "1K",
      foldCase: true,
    },
  ],
  conflicts: [],
  pixels: {
    table: {
      "1K": {
        "1:1": { width: 1440, height: 1440 },
        ...withPortraits({ "4:3": [1664, 1248], "16:9": [1920, 1080], "3:2": [1728, 1152] }),
      },
      "2K": {
        "1:1": { width: 1536, height: 1536 },
        ...withPortraits({ "4:3": [1824, 1368], "16:9": [2048, 1152], "3:2": [1872, 1248] }),
      },
    },
    isExact: true,
  },
  format: { fixed: "png", isExact: true },
  prices: {
    billing: "picture",
    by: ["resolution"],
    tables: { standard: { "1K": 100_000, "2K": 150_000, reference: 0 } },
  },
};

const pro: Model = {
  ...flex,
  id: "flux-2-pro",
  upstreamModel: "flux-2-pro",
  description: "FLUX.2 pro: higher quality and finer detail.",
  prices: {
    billing: "picture",
    by: ["resolution"],
    tables: { standard: { "1K": 45_000, "2K": 60_000, reference: 0 } },
  },
};

export const fluxTwo: readonly Model[] = [flex, pro];

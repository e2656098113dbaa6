/** What the models behind the Gemini emulator can do, size and charge for: the vendor's tables. */
import sharp from "sharp";

export type Pixels = { width: number; height: number };

export type GeminiModel = {
  format: "png" | "jpeg";
  /** Words of `imageSize` and the output tokens each costs; a model without any refuses the field. */
  tokensBySize: Readonly<Record<string, number>>;
  /** Tokens of a picture when no size is named. */
  tokens: number;
  tokensPerReference: number;
  pixels: Readonly<Record<string, readonly [number, number]>>;
  searches: boolean;
};

const pixelsOfTwo = {
  "1:1": [1024, 1024],
  "2:3": [832, 1248],
  "3:2": [1248, 832],
  "3:4": [864, 1184],
  "4:3": [1184, 864],
  "4:5": [896, 1152],
  "5:4": [1152, 896],
  "9:16": [768, 1344],
  "16:9": [1344, 768],
  "21:9": [1536, 672],
} as const;

const pixelsOfThree = {
  "1:1": [1024, 1024],
  "2:3": [848, 1264],
  "3:2": [1264, 848],
  "3:4": [896, 1200],
  "4:3": [1200, 896],
  "4:5": [928, 1152],
  "5:4": [1152, 928],
  "9:16": [768, 1376],
  "16:9": [1376, 768],
  "21:9": [1584, 672],
} as const;

const strips = {
  "1:4": [512, 2048],
  "4:1": [2048, 512],
  "1:8": [384, 3072],
  "8:1": [3072, 384],
} as const;

const three = {
  format: "jpeg",
  tokens: 1_120,
  tokensPerReference: 1_120,
  pixels: { ...pixelsOfThree, ...strips },
  searches: true,
} as const;

/** Models that are alive; every other name is a 404. */
export const geminiModels: ReadonlyMap<string, GeminiModel> = new Map<string, GeminiModel>([
  [
    "gemini-2.5-flash-image",
    {
      format: "png",
      tokensBySize: {},
      tokens: 1_290,
      tokensPerReference: 258,
      pixels: pixelsOfTwo,
      searches: false,
    },
  ],
  ["gemini-3.1-flash-lite-image", { ...three, tokensBySize: { "1K": 1_120 }, searches: false }],
  [
    "gemini-3.1-flash-image",
    { ...three, tokensBySize: { "512": 747, "1K": 1_120, "2K": 1_680, "4K": 2_520 } },
  ],
  ["gemini-nano-banana-2.1", { ...three, tokensBySize: { "1K": 1_120, "2K": 1_680, "4K": 2_520 } }],
  [
    "gemini-3-pro-image",
    { ...three, pixels: pixelsOfThree, tokensBySize: { "1K": 1_120, "2K": 1_120, "4K": 2_000 } },
  ],
]);

/** Every picture is at twice, four times or half of the pixels at 1K. */
const scales: Readonly<Record<string, number>> = { "512": 0.5, "1K": 1, "2K": 2, "4K": 4 };

/** What the model makes: the named ratio, else that of the first reference, else one of its own choice. */
export function pixelsFor(
  model: GeminiModel,
  wish: { ratio: string | undefined; imageSize: string | undefined; first: Pixels | undefined },
): Pixels {
  const ratio = wish.ratio ?? (wish.first === undefined ? "4:3" : nearestRatio(model, wish.first));
  const [width, height] = model.pixels[ratio] ?? [1024, 1024];
  const scale = scales[wish.imageSize ?? "1K"] ?? 1;
  return { width: width * scale, height: height * scale };
}

function nearestRatio({ pixels }: GeminiModel, first: Pixels): string {
  const wanted = Math.log(first.width / first.height);
  const distances = Object.entries(pixels).map(([ratio, [width, height]]) => {
    return { ratio, distance: Math.abs(Math.log(width / height) - wanted) };
  });
  return distances.toSorted((one, other) => one.distance - other.distance)[0]?.ratio ?? "1:1";
}

/** The size of a picture that was sent; undefined when it is none that the vendor reads. */
export async function measure(base64: string): Promise<Pixels | undefined> {
  try {
    const { width, height } = await sharp(Buffer.from(base64, "base64")).metadata();
    return { width, height };
  } catch {
    return undefined;
  }
}

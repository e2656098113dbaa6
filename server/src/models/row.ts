/**
 * The shape of a catalogue row: one public model, as data only, so that an operator can add one by
 * configuration. `parameters.ts`, `references.ts`, `pixels.ts`, `price.ts` and `input-schema.ts` are
 * the only code that reads the rules in it; `check-model.ts` says whether a row contradicts itself.
 */
import type { Micros } from "../lib/money.ts";
import type { Tier } from "./model.ts";

export type Model = {
  id: string;
  /** Rows of one family share their rules; the name of the file they stand in. */
  family: string;
  /** Adapter that speaks this family's protocol, and the vendor's name for the model: defaults of a channel. */
  provider: "gemini" | "gemini-interactions" | "openai" | "bfl";
  upstreamModel: string;
  ownedBy: string;
  description: string;
  /** Things a caller should know that no parameter says. */
  notes: readonly string[];
  /** How the price is found, in words. */
  billing: string;
  /** Shown as `estimated_time`: a constant of the model, not a forecast. */
  estimatedSeconds: number;
  prompt: { codePointsMax: number };
  /** `n`: from 1 to `max`, 1 when absent. */
  pictures: { max: number; outside: "refused" | "clamped" };
  /** Null where the model takes no references. */
  references: ReferenceRule | null;
  mask: MaskRule | null;
  /** Whether `official_fallback: true` is taken; `false` is fine everywhere. */
  officialFallback: boolean;
  parameters: readonly Parameter[];
  /** Pairs of values that exclude each other; the error names `parameter`. */
  conflicts: readonly Conflict[];
  pixels: PixelRule;
  format: FormatRule;
  prices: PriceRule;
};

/** Fields of a body that are read for every model; the others are the model's own parameters. */
export const commonFields = [
  "model",
  "prompt",
  "n",
  "image_urls",
  "mask_url",
  "official_fallback",
  "webhook",
  "language",
] as const;

/** One MB in every limit of this house: 2^20 bytes. */
export const mebibyte = 1_048_576;

export type ReferenceRule = {
  countMax: number;
  /** Bytes of one decoded reference. */
  bytesMax: number;
  pixelsMax: number;
  /** `data`: complete data URIs; `base64`: the same without the prefix. */
  accepts: readonly ("url" | "data" | "base64")[];
};

/** `first_reference`: the result has that picture's pixels, as png; `promised`: mask or not, size decides. */
export type MaskRule = { result: "first_reference" | "promised" };

export type Parameter = ChoiceParameter | IntegerParameter | BooleanParameter | IgnoredParameter;

type ParameterBase = {
  name: string;
  description: string;
  /** False keeps a parameter out of forms: it is accepted, and of no use to people. */
  offered?: false;
  /** In which requests the parameter has no effect; giving it then is reported as a warning. */
  ignoredWhen?: IgnoreRule;
};

export type IgnoreRule =
  | { kind: "equals"; parameter: string; value: string }
  /** The request has a mask. */
  | { kind: "masked" }
  /** `size` is given in pixels. */
  | { kind: "pixels" };

export type ChoiceParameter = ParameterBase & {
  type: "choice";
  /** In the spelling that everything behind the validator sees. */
  values: readonly string[];
  default?: string;
  /** Default of requests without references, where it differs or is the only one. */
  defaultWithoutReferences?: string;
  /** Values that are only another word for a value. */
  means?: Readonly<Record<string, string>>;
  /** The same for requests without references; applied last, to the default too. */
  meansWithoutReferences?: Readonly<Record<string, string>>;
  /** Words outside `values` that are taken as `to`, with a warning. */
  lowered?: { words: readonly string[]; to: string };
  /** Words of a tier match in any letter case. */
  foldCase?: true;
  /** Also takes `WIDTHxHEIGHT` within these bounds. */
  pixels?: PixelBounds;
};

export type PixelBounds = {
  multipleOf: number;
  sideMax: number;
  /** Longer side by shorter side. */
  ratioMax: number;
  pixelsMin: number;
  pixelsMax: number;
};

export type IntegerParameter = ParameterBase & {
  type: "integer";
  min: number;
  max: number;
  default?: number;
};

export type BooleanParameter = ParameterBase & {
  type: "boolean";
  default: boolean;
  /** Another boolean parameter that must be true for this one to be. */
  needs?: string;
};

/** A field of sister models that this one takes without effect, for a reason worth telling. */
export type IgnoredParameter = ParameterBase & { type: "ignored" };

export type Conflict = { parameter: string; value: string; other: string; otherValue: string };

export type PictureSize = { width: number; height: number };

/** Pictures by ratio; insertion order decides between two ratios that are equally near. */
export type RatioTable = Readonly<Record<string, PictureSize>>;

export type PixelRule = {
  /** By value of `resolution`, or under `anyTier` where the model has none. */
  table: Readonly<Record<string, RatioTable>>;
  /** True where the promised pixels are kept live too, by asking for them or by cropping. */
  isExact: boolean;
  /** The value of `size` that keeps the first reference's own ratio, and how. */
  match?: { word: string; pixels: number; multipleOf: number; ratioMax: number };
};

/** Key of the only table of a model without `resolution`. */
export const anyTier = "*";

export const pictureFormats = ["png", "jpeg", "webp"] as const;
export type PictureFormat = (typeof pictureFormats)[number];

/** `parameter` chooses among `words`; without one every picture has `fixed`. */
export type FormatRule =
  | { parameter: string; words: Readonly<Record<string, PictureFormat>>; isExact: true }
  | { fixed: PictureFormat; isExact: boolean };

/** List prices by row; null where nobody has set one yet. */
export type PriceTable = Readonly<Record<string, Micros | null>>;
export type TierTables = Readonly<Partial<Record<Tier, PriceTable>>>;

/** Row of the price that a reference adds to every picture. */
export const referenceRow = "reference";
/** Row of a model that has one price for everything. */
export const pictureRow = "picture";

export type PriceRule =
  | {
      billing: "picture";
      /** Parameters whose values, joined by `/`, name the row; none: `pictureRow`. */
      by: readonly string[];
      tables: TierTables;
      /** A value of one of `by` that leaves the choice to the vendor. */
      auto?: { parameter: string; value: string; fallback: string; above: string };
    }
  /** Rows are micro-USD per million tokens. */
  | { billing: "tokens"; rows: TokenRows; tokens: TokenRule; tables: TierTables };

/** Which row prices which tokens. */
export type TokenRows = { textInput: string; imageInput: string; imageOutput: string };

export type TokenRule = {
  /** Tokens that a vendor's own frame around the prompt may add, for the hold. */
  promptOverhead: number;
  /** Input tokens of one reference: at most, and usually. */
  referenceHold: number;
  referenceLikely: number;
  output: TokenOutput;
};

export type TokenOutput =
  | { kind: "fixed"; tokens: number }
  /** At 1024x1024, by quality, dearest last; other sizes in proportion to their pixels. */
  | { kind: "quality"; by: Readonly<Record<string, number>>; auto: string; fallback: string };

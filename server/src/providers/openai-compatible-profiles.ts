import type { JsonObject } from "../lib/json.ts";

/** How a server differs from the OpenAI Images API: settings of a channel. */
export type Quirks = {
  generationsPath: string;
  /** Asked by a health call; answers with a list of models. */
  healthPath: string;
  /** Pictures in one call; with 1, `n` is not sent at all. */
  picturesMax: number;
  /** Null for servers that refuse the field. */
  responseFormat: "b64_json" | "url" | null;
  /** Where a seed of our own goes, for servers that use the same one every time. */
  seedField: string | null;
  /** Parameters of the model that the server understands: `quality`, `background`, `output_format`… */
  parameters: readonly string[];
  /** Further members of every request; they never replace those that the gateway sets. */
  extraBody: JsonObject;
  /** How references travel: a form to a route of its own, or base64 in a field of the generation. */
  edits:
    | { kind: "form"; path: string; imageField: string; maskField: string | null }
    | { kind: "body"; field: string }
    | null;
  /** Control words that the server reads inside a prompt: `bar` splits at `|`, `tags` are `<…>`. */
  promptSyntax: "plain" | "bar" | "tags";
};

const generic: Quirks = {
  generationsPath: "/images/generations",
  healthPath: "/models",
  picturesMax: 4,
  responseFormat: "b64_json",
  seedField: null,
  parameters: [],
  extraBody: {},
  edits: { kind: "form", path: "/images/edits", imageField: "image[]", maskField: "mask" },
  promptSyntax: "plain",
};

/** Quirks of known servers, to start a channel's settings from. */
export const compatibleProfiles = {
  generic,
  localai: {
    ...generic,
    edits: { kind: "body", field: "ref_images" },
    promptSyntax: "bar",
  },
  sglang: {
    ...generic,
    // Without one, this server draws with seed 1024 for ever.
    seedField: "seed",
    edits: { kind: "form", path: "/images/edits", imageField: "image", maskField: null },
  },
  "vllm-omni": {
    ...generic,
    edits: { kind: "form", path: "/images/edits", imageField: "image", maskField: "mask_image" },
  },
  "sd-server": {
    ...generic,
    responseFormat: null,
    parameters: ["output_format", "output_compression"],
    promptSyntax: "tags",
  },
  ollama: { ...generic, picturesMax: 1, seedField: "seed", edits: null },
} as const satisfies Record<string, Quirks>;

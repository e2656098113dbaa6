/** Servers that speak the OpenAI Images protocol in their own way, each as its facts describe it. */
import type { JsonObject } from "../../src/lib/json.ts";
import type { compatibleProfiles } from "../../src/providers/openai-compatible-profiles.ts";
import { paintEmulated } from "./pictures.ts";
import { readForm, startVendorServer, textOf } from "./vendor-server.ts";
import type {
  EmulatorReply,
  Misbehaviour,
  RecordedRequest,
  VendorServer,
} from "./vendor-server.ts";

export type CompatibleProfile = Exclude<keyof typeof compatibleProfiles, "generic">;

export type CompatibleEmulator = Pick<
  VendorServer,
  "origin" | "requests" | "untilAsked" | "stop"
> & {
  /** The origin with its `/v1`. */
  baseUrl: string;
  /** Prompts of the calls that made pictures. */
  readonly worked: readonly string[];
  set(behaviour: { refusal?: EmulatorReply | null; reply?: Misbehaviour | null }): void;
};

type Asked = { path: string; body: JsonObject; files: readonly string[] };
type Dialect = {
  /** Null where the request is fine. */
  refuse(asked: Asked): EmulatorReply | null;
  /** Pictures of one call. */
  countOf(body: JsonObject): number;
  /** What is drawn, for servers with a fixed seed or syntax inside the prompt. */
  seedOf(body: JsonObject): string;
  present(pictures: readonly Picture[], body: JsonObject): JsonObject;
};
type Picture = { base64: string; path: string };

const editsPath = "/v1/images/edits";

export async function startCompatibleEmulator(
  profile: CompatibleProfile,
  options: { apiKey?: string | null } = {},
): Promise<CompatibleEmulator> {
  const dialect = dialects[profile];
  const apiKey = options.apiKey ?? null;
  const worked: string[] = [];
  const files = new Map<string, Buffer>();
  let refusal: EmulatorReply | null = null;

  const server = await startVendorServer(async (request) => {
    if (apiKey !== null && request.headers["authorization"] !== `Bearer ${apiKey}`) {
      return { status: 401, body: { error: "Unauthorized" } };
    }
    const file = files.get(request.path);
    if (file !== undefined)
      return { status: 200, headers: { "content-type": "image/png" }, body: file };
    if (refusal !== null) return refusal;
    if (request.path === "/v1/models") {
      return { status: 200, body: { object: "list", data: [{ id: "dreamer", object: "model" }] } };
    }
    return makePictures(await readAsked(request));
  });

  async function makePictures(asked: Asked): Promise<EmulatorReply> {
    const { body } = asked;
    const refused = dialect.refuse(asked);
    if (refused !== null) return refused;
    const [width = 0, height = 0] = textOf(body["size"]).split("x").map(Number);
    const pictures = await Promise.all(
      Array.from({ length: dialect.countOf(body) }, async (_, index): Promise<Picture> => {
        const seed = `${dialect.seedOf(body)} ${index}`;
        const bytes = await paintEmulated({ width, height, format: "png", seed });
        const path = `/generated-images/b64${worked.length}-${index}.png`;
        files.set(path, bytes);
        return { base64: bytes.toString("base64"), path };
      }),
    );
    worked.push(textOf(body["prompt"]));
    return { status: 200, body: dialect.present(pictures, body) };
  }

  return {
    origin: server.origin,
    baseUrl: `${server.origin}/v1`,
    requests: server.requests,
    worked,
    untilAsked: server.untilAsked,
    set: (behaviour) => {
      if (behaviour.refusal !== undefined) ({ refusal } = behaviour);
      if (behaviour.reply !== undefined) server.misbehave(behaviour.reply);
    },
    stop: server.stop,
  };
}

async function readAsked(request: RecordedRequest): Promise<Asked> {
  if (!(request.headers["content-type"] ?? "").startsWith("multipart/")) {
    const body = JSON.parse(request.body.toString()) as JsonObject;
    return { path: request.path, body, files: [] };
  }
  const entries = await readForm(request);
  const texts = entries.filter((entry) => "value" in entry);
  return {
    path: request.path,
    body: Object.fromEntries(
      texts.map(({ name, value }) => [name, name === "n" ? Number(value) : value]),
    ),
    files: entries.filter((entry) => "bytes" in entry).map(({ name }) => name),
  };
}

const byN = (body: JsonObject): number => Number(body["n"] ?? 1);
const byPrompt = (body: JsonObject): string => `${textOf(body["prompt"])} ${textOf(body["seed"])}`;
const asBase64 = (pictures: readonly Picture[]) =>
  pictures.map(({ base64 }) => ({ b64_json: base64 }));

function detail(status: number, text: unknown): EmulatorReply {
  return { status, body: { detail: text } };
}

function missing(path: string): EmulatorReply {
  return {
    status: 404,
    headers: { "content-type": "text/plain" },
    body: Buffer.from(`no ${path}`),
  };
}

const dialects: Record<CompatibleProfile, Dialect> = {
  localai: {
    refuse: ({ path }) => (path === "/v1/images/generations" ? null : missing(path)),
    countOf: byN,
    // Whatever follows the bar is the negative prompt.
    seedOf: (body) => textOf(body["prompt"]).split("|")[0] ?? "",
    present: (pictures, body) => ({
      id: "b7",
      created: 1_795_219_200,
      data:
        body["response_format"] === "b64_json"
          ? asBase64(pictures)
          : pictures.map(({ path }) => ({ url: path })),
    }),
  },
  sglang: {
    refuse: ({ path, body, files }) => {
      if (body["response_format"] !== "b64_json" && path !== editsPath) {
        return detail(400, "response_format='url' needs cloud storage; use b64_json");
      }
      if (path === editsPath && files.length === 0) return detail(422, [{ msg: "Field required" }]);
      return null;
    },
    countOf: byN,
    // The fixed default seed of this server.
    seedOf: (body) => textOf(body["seed"] ?? 1_024),
    present: (pictures, body) => ({
      id: "img-1",
      created: 1_795_219_200,
      inference_time_s: 1.5,
      peak_memory_mb: 9_000,
      data:
        body["response_format"] === "b64_json"
          ? asBase64(pictures)
          : pictures.map(({ path }) => ({ url: path })),
    }),
  },
  "vllm-omni": {
    refuse: ({ body, files }) => {
      if (body["response_format"] === "url")
        return detail(400, "response_format url is not supported");
      if (files.includes("mask"))
        return detail(422, [{ loc: ["body", "mask"], msg: "Extra inputs" }]);
      return null;
    },
    countOf: byN,
    seedOf: byPrompt,
    present: (pictures, body) => ({
      created: 1_795_219_200,
      output_format: "png",
      size: body["size"] ?? null,
      data: asBase64(pictures),
    }),
  },
  "sd-server": {
    refuse: ({ body }) => {
      const extra = /<sd_cpp_extra_args>(.*?)<\/sd_cpp_extra_args>/.exec(textOf(body["prompt"]));
      // An emulated server stops here, where the real one would obey.
      return extra === null ? null : { status: 500, body: { error: `obeyed ${extra[1]}` } };
    },
    countOf: byN,
    seedOf: byPrompt,
    present: (pictures) => ({
      created: 1_795_219_200,
      data: asBase64(pictures),
      output_format: "png",
    }),
  },
  ollama: {
    refuse: ({ path, body }) => {
      if (path !== "/v1/images/generations") return missing(path);
      const isWrong = body["response_format"] !== "b64_json";
      const error = { message: "only b64_json is supported", type: "invalid_request_error" };
      return isWrong ? { status: 400, body: { error } } : null;
    },
    countOf: () => 1,
    seedOf: byPrompt,
    present: (pictures) => ({ created: 1_795_219_200, data: asBase64(pictures) }),
  },
};

/**
 * ComfyUI as a real HTTP server: one queue, names chosen by the client, a history that is lost with the
 * process. It knows the few node classes of a plain workflow, and loads only files that were uploaded.
 */
import { isJsonObject } from "../../src/lib/json.ts";
import type { JsonObject, JsonValue } from "../../src/lib/json.ts";
import { createFaultPlan } from "./fault-plan.ts";
import type { Faults } from "./fault-plan.ts";
import { paintEmulated } from "./pictures.ts";
import { readForm, startVendorServer, textOf } from "./vendor-server.ts";
import type { EmulatorReply, RecordedRequest } from "./vendor-server.ts";

export type ComfyuiRoute = "upload" | "submit" | "queue" | "history" | "cancel" | "check";

export type ComfyuiOutcome = "success" | "error" | "interrupted" | "preview" | "nothing" | "stuck";

export type ComfyuiOptions = {
  /** What a proxy in front wants to see as a bearer token; nothing by default. */
  apiKey?: string | null;
};

/** What a test may change at any time; works keep the outcome that they were queued under. */
export type ComfyuiChanges = {
  outcome?: ComfyuiOutcome;
  /** Looks at the queue that find a work running before it ends; default 1. */
  looksBeforeEnd?: number;
} & Partial<Record<ComfyuiRoute, Faults>>;

export type ComfyuiWork = {
  promptId: string;
  graph: JsonObject;
  outcome: ComfyuiOutcome;
};

export type ComfyuiEmulator = {
  origin: string;
  readonly requests: readonly RecordedRequest[];
  /** Every work that was queued, in order: a name twice would be work done twice. */
  readonly works: readonly ComfyuiWork[];
  /** Uploaded files by the name that a graph loads them under. */
  readonly uploads: ReadonlyMap<string, Buffer>;
  readonly interrupted: readonly string[];
  readonly queued: readonly string[];
  set(changes: ComfyuiChanges): void;
  /** Queue and history are gone, files are not. */
  restart(): void;
  untilHanging(): Promise<void>;
  stop(): Promise<void>;
};

type Work = ComfyuiWork & { number: number; looks: number };
type Node = { class_type: string; inputs: JsonObject };

const classes = [
  "CheckpointLoaderSimple",
  "CLIPTextEncode",
  "EmptyLatentImage",
  "KSampler",
  "LoadImage",
  "VAEDecode",
  "PreviewImage",
  "SaveImage",
];
const promptIdPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export async function startComfyuiEmulator(options: ComfyuiOptions = {}): Promise<ComfyuiEmulator> {
  const { apiKey = null } = options;
  const state = { outcome: "success" as ComfyuiOutcome, looksBeforeEnd: 1 };
  const works: Work[] = [];
  const uploads = new Map<string, Buffer>();
  const interrupted: string[] = [];
  let queue: Work[] = [];
  let history = new Map<string, JsonObject>();

  function submit(body: JsonObject): EmulatorReply {
    const promptId = textOf(body["prompt_id"]);
    if (!promptIdPattern.test(promptId)) {
      return { status: 400, body: errorBody("invalid_prompt_id", "prompt_id must be a UUID") };
    }
    if (history.has(promptId) || queue.some((work) => work.promptId === promptId)) {
      return { status: 409, body: { error: "prompt_id already exists" } };
    }
    const graph = isJsonObject(body["prompt"] ?? null) ? (body["prompt"] as JsonObject) : {};
    const issue = findIssue(graph, uploads);
    if (issue !== null) return { status: 400, body: issue };
    const { outcome } = state;
    const work = { promptId, graph, outcome, number: works.length, looks: 0 };
    works.push(work);
    queue.push(work);
    return {
      status: 200,
      body: { prompt_id: promptId, number: work.number, node_errors: {} },
    };
  }

  /** Looking is what makes time pass: the work at the head of the queue ends after enough looks. */
  function showQueue(): EmulatorReply {
    const [head] = queue;
    if (head !== undefined && head.looks >= state.looksBeforeEnd && head.outcome !== "stuck") {
      history.set(head.promptId, entryOf(head, head.outcome));
      queue = queue.slice(1);
    }
    const items = queue.map(({ number, promptId, graph }) => [number, promptId, graph, {}, []]);
    const [running] = queue;
    if (running !== undefined) running.looks += 1;
    return {
      status: 200,
      body: { queue_running: items.slice(0, 1), queue_pending: items.slice(1) },
    };
  }

  function interrupt(promptId: string): EmulatorReply {
    const [head] = queue;
    if (head?.promptId === promptId) {
      interrupted.push(promptId);
      history.set(promptId, entryOf(head, "interrupted"));
      queue = queue.slice(1);
    }
    return { status: 200, body: Buffer.alloc(0) };
  }

  function unqueue(body: JsonObject): EmulatorReply {
    const ids = Array.isArray(body["delete"]) ? body["delete"] : [];
    queue = queue.filter(({ promptId }, place) => place === 0 || !ids.includes(promptId));
    return { status: 200, body: Buffer.alloc(0) };
  }

  async function upload(request: RecordedRequest): Promise<EmulatorReply> {
    const form = await readForm(request);
    const image = form.find((entry) => entry.name === "image");
    if (image === undefined || !("bytes" in image)) {
      return { status: 400, body: Buffer.alloc(0) };
    }
    const text = (name: string): string => {
      const entry = form.find((one) => one.name === name);
      return entry !== undefined && "value" in entry ? entry.value : "";
    };
    const subfolder = text("subfolder");
    const path = subfolder === "" ? image.filename : `${subfolder}/${image.filename}`;
    uploads.set(path, image.bytes);
    return {
      status: 200,
      body: { name: image.filename, subfolder, type: text("type") || "input" },
    };
  }

  async function view(query: URLSearchParams): Promise<EmulatorReply> {
    const name = /^gw_(\d+)_\.png$/.exec(query.get("filename") ?? "")?.[1];
    const work = works[Number(name ?? "-1")];
    if (work === undefined || query.get("type") !== "output") {
      return { status: 404, body: Buffer.alloc(0) };
    }
    const headers = { "content-type": "image/png" };
    return { status: 200, headers, body: await drawResult(work.graph) };
  }

  async function answer(request: RecordedRequest): Promise<EmulatorReply> {
    if (apiKey !== null && request.headers["authorization"] !== `Bearer ${apiKey}`) {
      return { status: 401, body: Buffer.from("Unauthorized") };
    }
    const { pathname, searchParams } = new URL(request.path, server.origin);
    const path = pathname.replace(/^\/api(?=\/)/, "");
    const asked = `${request.method} ${path}`;
    switch (asked) {
      case "POST /upload/image":
        return faults.answer("upload", () => upload(request));
      case "POST /prompt":
        return faults.answer("submit", () => submit(readJson(request)));
      case "GET /queue":
        return faults.answer("queue", showQueue);
      case "POST /queue":
        return faults.answer("cancel", () => unqueue(readJson(request)));
      case "POST /interrupt":
        return faults.answer("cancel", () => interrupt(textOf(readJson(request)["prompt_id"])));
      case "GET /view":
        return view(searchParams);
      case "GET /system_stats":
        return faults.answer("check", () => ({ status: 200, body: stats }));
      default: {
        const id = /^GET \/history\/(.+)$/.exec(asked)?.[1];
        if (id === undefined) return { status: 404, body: Buffer.from("404: Not Found") };
        const entry = history.get(id);
        const body = entry === undefined ? {} : { [id]: entry };
        return faults.answer("history", () => ({ status: 200, body }));
      }
    }
  }

  const faults = createFaultPlan<ComfyuiRoute>();
  const server = await startVendorServer(answer);
  return {
    origin: server.origin,
    requests: server.requests,
    works,
    uploads,
    interrupted,
    get queued() {
      return queue.map(({ promptId }) => promptId);
    },
    set: ({ outcome, looksBeforeEnd, ...planned }) => {
      if (outcome !== undefined) state.outcome = outcome;
      if (looksBeforeEnd !== undefined) state.looksBeforeEnd = looksBeforeEnd;
      faults.set(planned);
    },
    restart: () => {
      queue = [];
      history = new Map();
    },
    untilHanging: faults.untilHanging,
    stop: server.stop,
  };
}

const stats = {
  system: { os: "posix", comfyui_version: "0.9.2", python_version: "3.13" },
  devices: [{ name: "cuda:0 Emulated", type: "cuda", vram_total: 1, vram_free: 1 }],
};

function readJson({ body }: RecordedRequest): JsonObject {
  const value = JSON.parse(body.toString()) as JsonValue;
  return isJsonObject(value) ? value : {};
}

function errorBody(type: string, message: string): JsonObject {
  return { error: { type, message, details: "", extra_info: {} }, node_errors: {} };
}

function nodesOf(graph: JsonObject): [string, Node][] {
  return Object.entries(graph) as [string, Node][]; // as in every graph that passed `findIssue`
}

function findIssue(graph: JsonObject, uploads: ReadonlyMap<string, Buffer>): JsonObject | null {
  for (const [id, { class_type, inputs }] of nodesOf(graph)) {
    if (!classes.includes(class_type)) {
      return errorBody(
        "invalid_prompt",
        `Cannot execute because node ${class_type} does not exist.`,
      );
    }
    const { image } = inputs;
    if (class_type !== "LoadImage" || uploads.has(textOf(image))) continue;
    const issue = {
      type: "custom_validation_failed",
      message: "Custom validation failed for node",
      details: `image - Invalid image file: ${textOf(image)}`,
      extra_info: {},
    };
    return {
      ...errorBody("prompt_outputs_failed_validation", "Prompt outputs failed validation"),
      node_errors: { [id]: { errors: [issue], dependent_outputs: ["9"], class_type } },
    };
  }
  const hasOutput = nodesOf(graph).some(([, node]) =>
    /^(Save|Preview)Image$/.test(node.class_type),
  );
  return hasOutput ? null : errorBody("prompt_no_outputs", "Prompt has no outputs");
}

function entryOf({ number, promptId, graph }: Work, outcome: ComfyuiOutcome): JsonObject {
  const isDone = outcome !== "error" && outcome !== "interrupted";
  const end: JsonValue[] = isDone
    ? ["execution_success", { prompt_id: promptId, timestamp: 1_795_219_212_000 }]
    : outcome === "interrupted"
      ? ["execution_interrupted", { prompt_id: promptId, node_id: "3", node_type: "KSampler" }]
      : [
          "execution_error",
          {
            prompt_id: promptId,
            node_id: "3",
            node_type: "KSampler",
            exception_message: "Allocation on device failed",
            exception_type: "torch.OutOfMemoryError",
          },
        ];
  const filename = `gw_${number}_.png`;
  const previews = { images: [{ filename: "preview.png", subfolder: "", type: "temp" }] };
  const saved = { images: [{ filename, subfolder: "", type: "output" }] };
  const outputs: JsonObject =
    outcome === "success" ? { "7": { text: ["a text"] }, "8": previews, "9": saved } : {};
  return {
    prompt: [number, promptId, graph, {}, ["9"]],
    outputs: outcome === "preview" ? { "8": previews } : outputs,
    status: {
      status_str: isDone ? "success" : "error",
      completed: isDone,
      messages: [["execution_start", { timestamp: 1_795_219_200_000 }], end],
    },
  };
}

/** Pixels come from the empty latent picture, rounded down to blocks of eight. */
function drawResult(graph: JsonObject): Promise<Buffer> {
  const latent = nodesOf(graph).find(([, node]) => node.class_type === "EmptyLatentImage");
  const { width = 512, height = 512 } = latent?.[1].inputs ?? {};
  const side = (pixels: JsonValue): number => Math.floor(Number(pixels) / 8) * 8;
  const seed = JSON.stringify(graph);
  return paintEmulated({ width: side(width), height: side(height), format: "png", seed });
}

/**
 * Workflows as an operator exports them from ComfyUI ("API format"), and where in them the parts of a
 * job go. A binding names a node by its id or by its title, because ids change when a graph is edited.
 */
import { createHash } from "node:crypto";

import { z } from "zod";

import { AppError } from "../lib/errors.ts";
import { isJsonObject } from "../lib/json.ts";
import type { JsonObject, JsonValue } from "../lib/json.ts";
import type { Job } from "./adapter.ts";

const inputSchema = z.object({ node: z.string().min(1), input: z.string().min(1) }).strict();
const inputsSchema = z.union([inputSchema.transform((one) => [one]), z.array(inputSchema)]);

const bindingsSchema = z
  .object({
    prompt: inputsSchema,
    seed: inputsSchema.default([]),
    width: inputsSchema.default([]),
    height: inputsSchema.default([]),
    /** Receives the upstream model's name, for a node that loads it. */
    model: inputsSchema.default([]),
    /** One place a reference, in their order. */
    references: inputsSchema.default([]),
    mask: inputsSchema.default([]),
    /** Nodes whose pictures are the result; all that save pictures when there are none. */
    outputs: z.array(z.string().min(1)).default([]),
  })
  .strict();

const workflowSchema = z
  .object({
    /** Serves this upstream model only; any when left out. */
    upstreamModel: z.string().min(1).optional(),
    graph: z.record(z.string(), z.looseObject({ inputs: z.record(z.string(), z.json()) })),
    bindings: bindingsSchema,
  })
  .strict();

export type Workflow = z.infer<typeof workflowSchema>;
export type Bindings = Workflow["bindings"];
export type NodeInput = z.infer<typeof inputSchema>;

/** ComfyUI's latent pictures are made of blocks; other sizes are rounded down by it without a word. */
const sideStep = 16;
const seedBits = 48;

/**
 * Workflows from an operator's settings: one, or a list. Throws `AppError` (`invalid_parameter`) that
 * names the place at fault, also for a binding that leads to no node or to no input of it.
 */
export function parseWorkflows(value: unknown): readonly Workflow[] {
  const parsed = z.array(workflowSchema).min(1).max(64).safeParse([value].flat());
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const place = ["workflows", ...(issue?.path ?? [])].join(".");
    throw badWorkflow(`${place}: ${issue?.message ?? "invalid"}`);
  }
  for (const workflow of parsed.data) checkBindings(workflow);
  return parsed.data;
}

/** The workflow with the fewest places that suffice; null when none serves this job. */
export function findWorkflow(workflows: readonly Workflow[], job: Job): Workflow | null {
  const fitting = workflows.filter(({ upstreamModel, bindings }) => {
    const servesModel = upstreamModel === undefined || upstreamModel === job.upstreamModel;
    const takesMask = job.mask === null || bindings.mask.length > 0;
    return servesModel && takesMask && bindings.references.length >= job.references.length;
  });
  const places = ({ bindings }: Workflow): number =>
    bindings.references.length + bindings.mask.length;
  return fitting.toSorted((one, other) => places(one) - places(other))[0] ?? null;
}

export type GraphInput = {
  job: Job;
  attemptId: string;
  /** Names under which the server knows the uploaded pictures. */
  references: readonly string[];
  mask: string | null;
};

/** The workflow's graph with the parts of a job in their places; the workflow stays as it is. */
export function fillGraph({ graph, bindings }: Workflow, input: GraphInput): JsonObject {
  const { job, attemptId, references, mask } = input;
  // Checked to be JSON when it was parsed; its type has an index signature of unknown values.
  const filled = structuredClone(graph) as JsonObject;
  const put = (places: readonly NodeInput[], value: JsonValue): void => {
    for (const place of places) setInput(filled, place, value);
  };
  put(bindings.prompt, job.prompt);
  put(bindings.seed, seedOf(attemptId, job.slots));
  put(bindings.width, roundUp(job.width));
  put(bindings.height, roundUp(job.height));
  put(bindings.model, job.upstreamModel);
  for (const [index, name] of references.entries()) {
    put(bindings.references.slice(index, index + 1), name);
  }
  if (mask !== null) put(bindings.mask, mask);
  return filled;
}

/** Ids of the nodes whose pictures are wanted; empty: of all. */
export function outputNodes({ graph, bindings }: Workflow): readonly string[] {
  return bindings.outputs.map((name) => findNode(graph, name) ?? name);
}

/**
 * The name of the work at ComfyUI: it wants a UUID in lower case, and refuses one it has seen. Made of
 * the attempt's id alone, so that a repeated submit is recognised.
 */
export function promptIdOf(attemptId: string): string {
  const hex = createHash("sha256").update(`comfyui:${attemptId}`).digest("hex");
  // Version 8 (RFC 9562) is for values of one's own making; "8" is also a valid variant.
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`];
  return [...parts, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join("-");
}

function seedOf(attemptId: string, slots: readonly number[]): number {
  const digest = createHash("sha256").update(`${attemptId}/${slots.join()}`).digest();
  return digest.readUIntBE(0, seedBits / 8);
}

function roundUp(pixels: number): number {
  return Math.ceil(pixels / sideStep) * sideStep;
}

function checkBindings({ graph, bindings }: Workflow): void {
  const { outputs, ...inputs } = bindings;
  for (const [part, places] of Object.entries(inputs)) {
    for (const { node, input } of places) {
      const id = findNode(graph, node);
      if (id === null) throw badWorkflow(`bindings.${part}: the graph has no node "${node}"`);
      if (!Object.hasOwn(graph[id]?.inputs ?? {}, input)) {
        throw badWorkflow(`bindings.${part}: node "${node}" has no input "${input}"`);
      }
    }
  }
  for (const node of outputs) {
    if (findNode(graph, node) === null) {
      throw badWorkflow(`bindings.outputs: the graph has no node "${node}"`);
    }
  }
}

function badWorkflow(message: string): AppError {
  return new AppError("invalid_parameter", message, { param: "workflows" });
}

function setInput(graph: JsonObject, { node, input }: NodeInput, value: JsonValue): void {
  const found = graph[findNode(graph, node) ?? ""];
  if (isJsonObject(found) && isJsonObject(found["inputs"])) found["inputs"][input] = value;
}

function findNode(graph: Readonly<Record<string, unknown>>, name: string): string | null {
  if (Object.hasOwn(graph, name)) return name;
  return Object.keys(graph).find((id) => titleOf(graph[id]) === name) ?? null;
}

function titleOf(node: unknown): string | null {
  const meta = isPlain(node) ? node["_meta"] : null;
  const title = isPlain(meta) ? meta["title"] : null;
  return typeof title === "string" ? title : null;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

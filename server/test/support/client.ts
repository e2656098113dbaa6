/** A caller of the API, as an integrator would write it: HTTP and JSON, nothing of the server's code. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { text } from "node:stream/consumers";

import type { ErrorReply } from "../../../client/src/errors.ts";
import type { SubmitReply, Warning } from "../../../client/src/submit.ts";
import type { Task, TaskReply } from "../../../client/src/tasks.ts";
import { systemClock } from "../../src/lib/time.ts";

export type Reply<Body> = { status: number; headers: Headers; body: Body };

export type RequestOptions = {
  headers?: Record<string, string>;
  /** Sent as JSON, unless it is bytes, a form or text already. */
  body?: unknown;
};

/** A refused request: the parts of its body that a caller reads. */
export type Refusal = {
  status: number;
  code: number | string;
  type: string;
  reason: string;
  param: string | undefined;
  message: string;
  headers: Headers;
};

export type Client = {
  token: string | null;
  request<Body>(method: string, path: string, options?: RequestOptions): Promise<Reply<Body>>;
  get<Body>(path: string, headers?: Record<string, string>): Promise<Reply<Body>>;
  post<Body>(path: string, body: unknown, headers?: Record<string, string>): Promise<Reply<Body>>;
  /** Submits; any reply. */
  submit(body: unknown, headers?: Record<string, string>): Promise<Reply<SubmitReply>>;
  /** Submits, and fails unless a task was made. */
  accept(body: unknown, headers?: Record<string, string>): Promise<Accepted>;
  /** Submits, and fails unless it was refused. */
  refuse(body: unknown, headers?: Record<string, string>): Promise<Refusal>;
  /** One look at a task that exists. */
  read(taskId: string, query?: string): Promise<Task>;
  /** Polls a task until it has ended, or until it is as wanted. */
  wait(taskId: string, isWanted?: (task: Task) => boolean): Promise<Task>;
  /** Submits and polls to the end. */
  run(body: unknown): Promise<Task>;
};

export type Accepted = { id: string; warnings: readonly Warning[]; headers: Headers };

export const submitPath = "/v1/images/generations";

const pollEveryMs = 25;
const waitMaxMs = 60_000;

export function createClient(origin: string, token: string | null): Client {
  const request = <Body>(
    method: string,
    path: string,
    { headers = {}, body }: RequestOptions = {},
  ): Promise<Reply<Body>> => send(`${origin}${path}`, { method, headers, body, token });
  const submit = (body: unknown, headers: Record<string, string> = {}) =>
    request<SubmitReply>("POST", submitPath, { body, headers });
  const accept = async (body: unknown, headers?: Record<string, string>): Promise<Accepted> => {
    const reply = await submit(body, headers);
    assert.equal(reply.status, 200, JSON.stringify(reply.body));
    const [{ status, task_id: id }] = reply.body.data;
    assert.equal(status, "submitted");
    return { id, warnings: reply.body.warnings ?? [], headers: reply.headers };
  };
  const read = async (taskId: string, query = ""): Promise<Task> => {
    const reply = await request<TaskReply>("GET", `/v1/tasks/${taskId}${query}`);
    assert.equal(reply.status, 200, JSON.stringify(reply.body));
    return reply.body.data;
  };
  const wait = (taskId: string, isWanted = hasEnded): Promise<Task> =>
    until(() => read(taskId), isWanted);
  return {
    token,
    request,
    get: (path, headers = {}) => request("GET", path, { headers }),
    post: (path, body, headers = {}) => request("POST", path, { headers, body }),
    submit,
    accept,
    refuse: async (body, headers) => refusalOf(await submit(body, headers)),
    read,
    wait,
    run: async (body) => wait((await accept(body)).id),
  };
}

export function hasEnded({ status }: Task): boolean {
  return status === "completed" || status === "failed" || status === "cancelled";
}

/** What a reply says that refuses; fails for any other, and for one that is not of the documented form. */
export function refusalOf({ status, headers, body }: Reply<unknown>): Refusal {
  assert.ok(status >= 400, `accepted: ${JSON.stringify(body)}`);
  // The next lines check what this says.
  const { error, request_id: requestId } = body as ErrorReply;
  assert.match(requestId, /^req_[0-9A-Z]{26}$/);
  assert.equal(headers.get("x-request-id"), requestId);
  assert.ok(error.message.length > 10 && error.message.length < 700, error.message);
  const { code, type, reason, param, message } = error;
  return { status, code, type, reason, param, message, headers };
}

/** Asks again and again until the answer is as wanted; fails after a minute. */
export async function until<T>(
  ask: () => Promise<T>,
  isWanted: (answer: T) => boolean,
): Promise<T> {
  const end = systemClock.monotonic() + waitMaxMs;
  for (;;) {
    const answer = await ask();
    if (isWanted(answer)) return answer;
    assert.ok(systemClock.monotonic() < end, `still ${JSON.stringify(answer)}`);
    await systemClock.sleep(pollEveryMs);
  }
}

export type Download = { status: number; headers: Headers; bytes: Buffer };

/** Fetches a link without a key. */
export async function download(
  url: string,
  { method = "GET", headers = {} }: { method?: string; headers?: Record<string, string> } = {},
): Promise<Download> {
  const reply = await fetch(url, { method, headers });
  return {
    status: reply.status,
    headers: reply.headers,
    bytes: Buffer.from(await reply.arrayBuffer()),
  };
}

/** Sends text over a socket of its own and reads until the server closes. */
export async function exchange(origin: string, request: string): Promise<string> {
  const { hostname, port } = new URL(origin);
  const socket = connect(Number(port), hostname);
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.write(request, () => resolve());
  });
  return text(socket);
}

type Outgoing = {
  method: string;
  headers: Record<string, string>;
  body: unknown;
  token: string | null;
};

async function send<Body>(
  url: string,
  { method, headers, body, token }: Outgoing,
): Promise<Reply<Body>> {
  const reply = await fetch(url, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(isJson(body) ? { "content-type": "application/json" } : {}),
      ...headers,
    },
    ...(body === undefined ? {} : { body: encode(body) }),
  });
  const received = await reply.text();
  // Whoever asks knows which body belongs to the route; each test asserts what it reads of it.
  const parsed = (received === "" ? null : JSON.parse(received)) as Body;
  return { status: reply.status, headers: reply.headers, body: parsed };
}

function isJson(body: unknown): boolean {
  return body !== undefined && !(body instanceof FormData);
}

function encode(body: unknown): string | FormData | Uint8Array<ArrayBuffer> {
  if (typeof body === "string" || body instanceof FormData) return body;
  return body instanceof Uint8Array ? new Uint8Array(body) : JSON.stringify(body);
}

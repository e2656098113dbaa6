/**
 * Callers under whom the server dies: each submits, polls and cancels over real HTTP, repeats what got no
 * reply with the same Idempotency-Key, as a good client does, and writes down every word it was told.
 */
import type { Task } from "../../../client/src/tasks.ts";
import { systemClock } from "../../src/lib/time.ts";
import { hasEnded, submitPath } from "../support/client.ts";
import type { Dice } from "./dice.ts";
import type { Menu, Order } from "./orders.ts";

export type Load = {
  readonly orders: readonly Order[];
  /** What no caller should ever have seen. */
  readonly problems: string[];
  readonly counts: Counts;
  /** Begins no new order; resolves when every order has its reply, for which a server must live. */
  stop(): Promise<void>;
  /** Gives up: what has no reply yet is not sent again. */
  abandon(): Promise<void>;
  /** Resolves at once when a submit is being answered with a task: before its reply has been read. */
  nextAcknowledgement(): Promise<void>;
  /** One poll of an order that was acknowledged; true when its task has ended. */
  poll(order: Order): Promise<boolean>;
};

export type Counts = {
  requests: number;
  /** Requests without a reply. */
  lost: number;
  /** Replies that said to come back: 503 while it stops, 409 for a twin, 429. */
  comeBack: number;
  /** Submits that were answered with the task of an earlier one. */
  replayed: number;
};

export type LoadOptions = {
  origin: string;
  /** One caller each. */
  keys: readonly string[];
  menu: Menu;
  dice: Dice;
  /** Orders of one caller that are under way at once. */
  ordersMax: number;
};

type State = LoadOptions & {
  orders: Order[];
  problems: string[];
  counts: Counts;
  isStopping: boolean;
  isAbandoned: boolean;
  acknowledgement: PromiseWithResolvers<void>;
};

type Caller = { token: string; name: string; dice: Dice; own: Order[] };

type Reply = { status: number; text: string; isReplayed: boolean };

const pauseMsMax = 40;
/** After a connection that broke, and after a reply that says to come back. */
const retryPauseMs = 60;
const requestTimeoutMs = 30_000;

export function startLoad(options: LoadOptions): Load {
  const counts = { requests: 0, lost: 0, comeBack: 0, replayed: 0 };
  const flags = { isStopping: false, isAbandoned: false };
  const state: State = {
    ...options,
    ...flags,
    orders: [],
    problems: [],
    counts,
    acknowledgement: Promise.withResolvers(),
  };
  const callers = options.keys.map((token, index): Caller => {
    return { token, name: `c${index}`, dice: options.dice.fork(), own: [] };
  });
  const running = Promise.all(callers.map((caller) => runCaller(state, caller)));
  return {
    orders: state.orders,
    problems: state.problems,
    counts,
    stop: async () => {
      state.isStopping = true;
      await running;
    },
    abandon: async () => {
      state.isStopping = true;
      state.isAbandoned = true;
      await running;
    },
    nextAcknowledgement: () => state.acknowledgement.promise,
    poll: (order) => {
      const caller = callers.find(({ own }) => own.includes(order));
      return caller === undefined ? Promise.resolve(false) : poll(state, caller, order);
    },
  };
}

async function runCaller(state: State, caller: Caller): Promise<void> {
  const { dice } = caller;
  while (!state.isStopping) {
    await act(state, caller);
    await systemClock.sleep(dice.between(0, pauseMsMax));
  }
}

async function act(state: State, caller: Caller): Promise<void> {
  const { dice, own } = caller;
  const open = own.filter(({ taskId, ended }) => taskId !== null && ended === null);
  if (open.length < state.ordersMax && dice.isLucky(0.55)) return placeOrder(state, caller);
  if (open.length > 0 && dice.isLucky(0.015)) return cancel(state, caller, dice.pick(open));
  if (own.length > 0 && dice.isLucky(0.05)) return repeat(state, caller, dice.pick(own));
  // Mostly those under way, and sometimes one that ended long ago.
  const seen = dice.isLucky(0.1) || open.length === 0 ? own : open;
  const known = seen.filter(({ taskId }) => taskId !== null);
  if (known.length > 0) await poll(state, caller, dice.pick(known));
}

async function placeOrder(state: State, caller: Caller): Promise<void> {
  const { dice, own, name } = caller;
  const mark = `${name}n${own.length}x`;
  const placed: Order = {
    ...state.menu.wish(dice, mark),
    mark,
    key: dice.isLucky(0.75) ? `key-${mark}` : null,
    taskId: null,
    originals: 0,
    lost: 0,
    cancels: 0,
    ended: null,
    rank: 0,
    progress: 0,
  };
  own.push(placed);
  state.orders.push(placed);
  const isTwin = placed.key !== null && dice.isLucky(0.08);
  await Promise.all([
    submit(state, caller, placed),
    ...(isTwin ? [submit(state, caller, placed)] : []),
  ]);
}

/** Sends until there is a reply; without a key only once, since a second send could make a second task. */
async function submit(state: State, caller: Caller, placed: Order): Promise<void> {
  const { key, body } = placed;
  const headers = key === null ? {} : { "idempotency-key": key };
  for (;;) {
    const reply = await send(state, caller, { method: "POST", path: submitPath, headers, body });
    if (reply === null) placed.lost += 1;
    else if (isComeBack(reply)) state.counts.comeBack += 1;
    else return accept(state, placed, reply);
    const isOver = state.isAbandoned || (key === null && state.isStopping);
    if (isOver || (key === null && reply === null)) return;
    if (reply !== null) await systemClock.sleep(retryPauseMs);
  }
}

function accept(state: State, placed: Order, { status, text, isReplayed }: Reply): void {
  const { problems, counts } = state;
  if (status !== 200) {
    problems.push(`the submit of ${placed.mark} was answered ${status} ${text}`);
    return;
  }
  const [{ task_id: taskId }] = (JSON.parse(text) as { data: [{ task_id: string }] }).data;
  if (isReplayed) counts.replayed += 1;
  else placed.originals += 1;
  if (placed.taskId !== null && placed.taskId !== taskId) {
    problems.push(`${placed.mark} is task ${placed.taskId} and also task ${taskId}`);
  }
  // Of twins the repeat may be answered first.
  if (placed.originals > 1) {
    problems.push(`a repeat of ${placed.mark} was not answered as one`);
  }
  placed.taskId = taskId;
}

/** A repeat of what was acknowledged long ago gets the first task again. */
async function repeat(state: State, caller: Caller, placed: Order): Promise<void> {
  if (placed.key !== null && placed.taskId !== null) await submit(state, caller, placed);
}

async function cancel(state: State, caller: Caller, placed: Order): Promise<void> {
  const path = `/v1/tasks/${placed.taskId}/cancel`;
  placed.cancels += 1;
  const reply = await send(state, caller, { method: "POST", path });
  if (reply === null) return;
  if (isComeBack(reply)) state.counts.comeBack += 1;
  else if (reply.status === 200 || reply.status === 202) note(state, placed, reply.text);
  else if (reply.status !== 409) {
    state.problems.push(`the cancel of ${placed.mark} was answered ${reply.status} ${reply.text}`);
  }
}

async function poll(state: State, caller: Caller, placed: Order): Promise<boolean> {
  const path = `/v1/tasks/${placed.taskId}`;
  const reply = await send(state, caller, { method: "GET", path });
  if (reply === null) return false;
  if (isComeBack(reply)) state.counts.comeBack += 1;
  else if (reply.status === 200) note(state, placed, reply.text);
  else state.problems.push(`a poll of ${placed.mark} was answered ${reply.status} ${reply.text}`);
  return placed.ended !== null;
}

const ranks = { pending: 0, processing: 1, completed: 2, failed: 2, cancelled: 2 } as const;

/** Remembers what a caller has seen of a task, and that it never takes it back. */
function note(state: State, placed: Order, text: string): void {
  const task = (JSON.parse(text) as { data: Task }).data;
  const rank = ranks[task.status];
  if (rank < placed.rank || task.progress < placed.progress) {
    state.problems.push(`${placed.mark} went back to ${task.status}, ${task.progress} %`);
  }
  placed.rank = rank;
  placed.progress = task.progress;
  if (!hasEnded(task)) return;
  // Replies to a poll and to a cancel carry the same object behind their code.
  const data = text.slice(text.indexOf(',"data":'));
  placed.ended ??= data;
  if (placed.ended !== data) {
    state.problems.push(`${placed.mark} had ended and changed: ${placed.ended} became ${data}`);
  }
}

function isComeBack({ status, text }: Reply): boolean {
  return status === 503 || status === 429 || (status === 409 && text.includes("in_progress"));
}

type Request = { method: string; path: string; headers?: Record<string, string>; body?: unknown };

/** The reply, or null when the connection broke before all of it had come. */
async function send(
  state: State,
  { token }: Caller,
  { method, path, headers = {}, body }: Request,
): Promise<Reply | null> {
  state.counts.requests += 1;
  const authorization = `Bearer ${token}`;
  const type = { "content-type": "application/json" };
  try {
    const reply = await fetch(`${state.origin}${path}`, {
      method,
      headers: { authorization, ...(body === undefined ? {} : type), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(requestTimeoutMs),
    });
    if (path === submitPath && reply.status === 200) {
      state.acknowledgement.resolve();
      state.acknowledgement = Promise.withResolvers();
    }
    const text = await reply.text();
    const isReplayed = reply.headers.get("idempotency-replayed") === "true";
    return { status: reply.status, text, isReplayed };
  } catch (error) {
    state.counts.lost += 1;
    if (error instanceof DOMException) {
      state.problems.push(`${method} ${path} had no reply in ${requestTimeoutMs} ms`);
    }
    await systemClock.sleep(retryPauseMs);
    return null;
  }
}

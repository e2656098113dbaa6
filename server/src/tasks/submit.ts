/**
 * Accepts a task. The order of work is part of the contract: idempotency look-up, limits, permissions
 * of the key, validation, a channel, then the price and one transaction. Nothing before that transaction
 * holds money, and nothing inside it waits for a network or decodes a picture.
 */
import { isAllowedModel } from "../accounts/caller.ts";
import type { Caller } from "../accounts/caller.ts";
import type { Channels } from "../channels/channels.ts";
import type { Database, Tx } from "../db/database.ts";
import { createBusyError, isLockTimeout } from "../db/errors.ts";
import type { IdempotencyRow } from "../db/schema.ts";
import { createBatch } from "../lib/batch.ts";
import type { Batch } from "../lib/batch.ts";
import { EgressError } from "../lib/egress.ts";
import type { Egress } from "../lib/egress.ts";
import { AppError, must } from "../lib/errors.ts";
import type { Ids } from "../lib/ids.ts";
import type { JsonObject } from "../lib/json.ts";
import type { Log } from "../lib/log.ts";
import { whenThere } from "../lib/promised.ts";
import type { Promised } from "../lib/promised.ts";
import type { Clock } from "../lib/time.ts";
import type { Catalogue } from "../models/catalogue.ts";
import type { FrozenPrice, Submit, Tier, Warning } from "../models/model.ts";
import { warnOfOutcomeWords } from "../models/outcome-words.ts";
import { holdOf } from "../models/price.ts";
import { parseModelField, validateSubmit } from "../models/validate.ts";
import type { Model } from "../models/row.ts";
import { discardObjects, takeBodyReferences } from "./body-references.ts";
import type { BodyReferences, BodyReferencesDeps } from "./body-references.ts";
import { checkAddress } from "../webhooks/address.ts";
import { createTasks, inProgress, replay } from "./create.ts";
import type { CreateInput, CreateResult } from "./create.ts";
import { findIdempotency } from "./idempotency-store.ts";
import { quoteAll } from "./prices-in-force.ts";
import type { Quoted } from "./prices-in-force.ts";
import { findTask, loadWarnings } from "./store.ts";
import { nameForRetry, throwForRetry } from "./retry.ts";
import { laneOf } from "./task.ts";
import type { NewTask } from "./task.ts";
import type { Overload } from "./overload.ts";
import type { Watch } from "./watch.ts";

export type SubmitDeps = BodyReferencesDeps & {
  db: Database;
  clock: Clock;
  ids: Ids;
  log: Log;
  catalogue: Catalogue;
  channels: Channels;
  watch: Watch;
  egress: Pick<Egress, "checkUrl">;
  overload: Pick<Overload, "assertAccepting" | "checkBacklog">;
  /** From submit to the latest end of a task, in milliseconds. */
  deadlineMs: number;
  idempotencyTtlMs: number;
};

/** What a submit is checked against before it costs anything. */
export type CheckDeps = Pick<SubmitDeps, "catalogue" | "channels" | "egress">;

export type SubmitInput = {
  caller: Caller;
  body: JsonObject;
  idempotency: IdempotencyUse | null;
  /** Spends one request of the key's allowance; called once the request is known not to be a repeat. */
  admit(): void;
};

/** One use of a key; `digest` is the same for bodies that mean the same. */
type IdempotencyUse = { route: string; key: string; digest: string };

export type Submitted = { taskId: string; warnings: readonly Warning[]; replayed: boolean };

/** Accepts a task, or throws `AppError` when there will be none. Resolves when it survives a power loss. */
export type SubmitTask = (input: SubmitInput) => Promise<Submitted>;

/** One submit on its way into the transaction; priced there, with the prices of that moment. */
type Pending = {
  caller: Caller;
  submit: Submit;
  model: Model;
  lane: string;
  taskId: string;
  body: BodyReferences;
  idempotency: IdempotencyRow | null;
};

const officialTier: readonly Tier[] = ["official"];
const standardTier: readonly Tier[] = ["standard"];
const bothTiers: readonly Tier[] = ["standard", "official"];

const batchMax = 64;
/** SQLite has one writer. On PostgreSQL one list is stored while the next is gathered, priced and sent. */
const runsMax = { sqlite: 1, postgres: 2 } as const;
const waitingMax = 4_096;
const twinWaitMs = 2_000;

export function createSubmitter(deps: SubmitDeps): SubmitTask {
  const batch = createBatch<Pending, CreateResult>({
    sizeMax: batchMax,
    waitingMax,
    runsMax: runsMax[deps.db.dialect],
    full: () =>
      new AppError("overloaded", "too many requests arrive at once; try again shortly", {
        retryAfterSeconds: 1,
      }),
    run: (pending) => createAll(deps, pending),
  });
  return (input) => submitTask(deps, batch, input);
}

async function submitTask(
  deps: SubmitDeps,
  batch: Batch<Pending, CreateResult>,
  input: SubmitInput,
): Promise<Submitted> {
  const { caller, idempotency: use } = input;
  let repeated: CreateResult | null;
  let pending: Pending | null;
  try {
    repeated = use === null ? null : await findRepeat(deps, caller, use);
    const prepared = repeated === null ? prepare(deps, input) : null;
    pending = prepared instanceof Promise ? await prepared : prepared;
  } catch (error) {
    // Up to here nothing was run, and that is certain.
    throwForRetry(error, { isKeyed: use !== null });
  }
  if (pending === null) return finish(deps, caller, must(repeated, "the first use of the key"));

  const { body, taskId, submit } = pending;
  const result = await create(deps, batch, pending);
  // A transaction that was run again after an unclear commit meets its own key: this is its task.
  const isOurs = result.kind === "replayed" && result.taskId === taskId;
  if (result.kind !== "created" && !isOurs) {
    await discardObjects(deps, body.kept);
    return finish(deps, caller, result);
  }
  return { taskId, warnings: submit.warnings, replayed: false };
}

/** Everything between the key and the transaction; without a promise where nothing has to be waited for. */
function prepare(deps: SubmitDeps, input: SubmitInput): Promised<Pending> {
  const { caller } = input;
  input.admit();
  deps.overload.assertAccepting();
  return whenThere(checkSubmit(deps, caller, input.body), ({ model, submit }) => {
    const lane = laneOf(model.id, caller.mode);
    const take = (): Promised<Pending> =>
      whenThere(takeBodyReferences(deps, { caller, model, submit }), (body) => {
        const taskId = deps.ids("task");
        const idempotency = toIdempotencyRow(deps, input, taskId);
        return { caller, submit, model, lane, taskId, body, idempotency };
      });
    const backlog = deps.overload.checkBacklog(lane, caller.accountId);
    return backlog === null ? take() : backlog.then(take);
  });
}

/** What can be said of a body without its pictures and without money. Throws `AppError`. */
export function checkSubmit(
  deps: CheckDeps,
  caller: Caller,
  body: JsonObject,
): Promised<{ model: Model; submit: Submit }> {
  const model = loadAllowedModel(deps, caller, body);
  const isWebhookPortAllowed = (url: URL): boolean => isPortAllowed(deps.egress, url);
  const valid = validateSubmit(model, body, { isWebhookPortAllowed });
  const warnings = caller.mode === "test" ? warnOfOutcomeWords(valid.request.prompt) : [];
  const submit =
    warnings.length === 0 ? valid : { ...valid, warnings: [...valid.warnings, ...warnings] };
  if (submit.webhook !== null) checkAddress(deps.egress, submit.webhook, "webhook");
  const isServed = (): boolean =>
    deps.channels.serves(model.id, caller.mode, tiersOf(model, submit));
  const checked = { model, submit };
  return isServed() ? checked : refreshUntilServed(deps, model, isServed).then(() => checked);
}

/** Throws `no_channel`; not before it has looked for a channel that another process has just added. */
async function refreshUntilServed(
  { channels }: CheckDeps,
  model: Model,
  isServed: () => boolean,
): Promise<void> {
  await channels.refresh();
  if (!isServed()) throw noChannel(model.id);
}

/** Tiers of channels that may serve a request. */
function tiersOf({ prices }: Model, { request }: Submit): readonly Tier[] {
  if (prices.tables.standard === undefined) return officialTier;
  return request.officialFallback ? bothTiers : standardTier;
}

/** Of twins whose first was refused one is decided a round; past its time the others are told to come again. */
async function create(
  deps: SubmitDeps,
  batch: Batch<Pending, CreateResult>,
  pending: Pending,
): Promise<CreateResult> {
  const { clock } = deps;
  const patientUntil = clock.monotonic() + twinWaitMs;
  try {
    for (;;) {
      const result = await batch.add(pending);
      if (!isInProgress(result) || clock.monotonic() >= patientUntil) return result;
    }
  } catch (error) {
    // An `AppError` is certain: nothing was committed.
    if (error instanceof AppError) {
      const isKeyed = pending.idempotency !== null;
      return { kind: "refused", error: nameForRetry(error, { isKeyed }) };
    }
    // A database that crashed after a COMMIT may not say what became of it; the task's own row does.
    if (await isThere(deps, pending)) return { kind: "created" };
    throw error;
  }
}

async function isThere({ db }: SubmitDeps, { caller, taskId }: Pending): Promise<boolean> {
  const task = await findTask(db.read, caller.accountId, taskId).catch(() => null);
  if (task !== null) await db.durable();
  return task !== null;
}

/** The web's two ports, and any other that the operator's trusted networks cover. */
function isPortAllowed(egress: SubmitDeps["egress"], url: URL): boolean {
  if (["", "80", "443"].includes(url.port)) return true;
  try {
    egress.checkUrl(url.href);
    return true;
  } catch (error) {
    if (error instanceof EgressError) return false;
    throw error;
  }
}

function isInProgress(result: CreateResult): boolean {
  return result.kind === "refused" && result.error.reason === "idempotency_in_progress";
}

async function findRepeat(
  { db, clock }: SubmitDeps,
  caller: Caller,
  use: IdempotencyUse,
): Promise<CreateResult | null> {
  const known = await findIdempotency(db.read, {
    account_id: caller.accountId,
    mode: caller.mode,
    route: use.route,
    key: use.key,
  });
  if (known === null || known.expires_at <= clock.now()) return null;
  return replay(known, use);
}

/** The reply to a repeat: the first task again, once it is certain to survive. */
async function finish(deps: SubmitDeps, caller: Caller, result: CreateResult): Promise<Submitted> {
  if (result.kind === "refused") throw result.error;
  const taskId = must(result.kind === "replayed" ? result.taskId : null, "the repeated task");
  await deps.db.durable();
  const warnings = await loadWarnings(deps.db.read, caller.accountId, taskId);
  return { taskId, warnings, replayed: true };
}

function loadAllowedModel(deps: CheckDeps, caller: Caller, body: JsonObject): Model {
  const id = parseModelField(body);
  if (!isAllowedModel(caller, id)) {
    const allowed = (caller.models ?? []).join(", ");
    throw new AppError(
      "model_not_allowed",
      `this key may not use model ${JSON.stringify(id.slice(0, 80))}; its allow-list holds ${allowed}`,
      { param: "model" },
    );
  }
  return deps.catalogue.load(id);
}

function noChannel(model: string): AppError {
  return new AppError(
    "no_channel",
    `no channel serves ${model} for live keys yet; the operator adds one with "channels add", ` +
      "and a test key (sk-test-…) can use the model in the sandbox meanwhile",
    { param: "model", retryAfterSeconds: 60 },
  );
}

function toIdempotencyRow(
  { clock, idempotencyTtlMs }: SubmitDeps,
  { caller, idempotency }: SubmitInput,
  taskId: string,
): IdempotencyRow | null {
  if (idempotency === null) return null;
  return {
    account_id: caller.accountId,
    mode: caller.mode,
    route: idempotency.route,
    key: idempotency.key,
    digest: idempotency.digest,
    task_id: taskId,
    expires_at: clock.now() + idempotencyTtlMs,
  };
}

async function createAll(deps: SubmitDeps, pending: readonly Pending[]): Promise<CreateResult[]> {
  const results = await commitAll(deps, pending);
  // The next list gathers while the disk syncs this one: larger lists cost less a task than more syncs gain.
  await deps.db.durable();
  for (const lane of new Set(pending.map((one) => one.lane))) deps.watch.ready(lane);
  return results;
}

async function commitAll(deps: SubmitDeps, pending: readonly Pending[]): Promise<CreateResult[]> {
  const { db, clock } = deps;
  const now = clock.now();
  // SQLite's writing connection has the pages in memory; on PostgreSQL a read inside is a round trip more.
  const early = db.dialect === "sqlite" ? null : await quoteAll(db.read, pending);
  try {
    return await db.transaction(async (tx) => {
      const prices = early ?? (await quoteAll(tx, pending));
      return createPriced(deps, tx, { pending, prices, now });
    });
  } catch (error) {
    if (!isLockTimeout(error)) throw error;
    // Most likely a twin in another process, which has the key and has not committed yet.
    const isKeyed = pending.some(({ idempotency }) => idempotency !== null);
    throw isKeyed ? inProgress(error) : createBusyError(error);
  }
}

type Priced = { pending: readonly Pending[]; prices: readonly Quoted[]; now: number };

async function createPriced(
  deps: SubmitDeps,
  tx: Tx,
  { pending, prices, now }: Priced,
): Promise<CreateResult[]> {
  const inputs = pending.flatMap((one, index): CreateInput[] => {
    const price = prices[index];
    if (price === undefined || price instanceof AppError) return [];
    return [toCreateInput(deps, one, price, now)];
  });
  const created = await createTasks(tx, inputs, now);
  let next = 0;
  return prices.map((price) =>
    price instanceof AppError
      ? { kind: "refused", error: price }
      : must(created[next++], "a result for every submit"),
  );
}

function toCreateInput(
  deps: SubmitDeps,
  { caller, submit, lane, taskId, body, idempotency }: Pending,
  price: FrozenPrice,
  now: number,
): CreateInput {
  const task: NewTask = {
    id: taskId,
    accountId: caller.accountId,
    keyId: caller.keyId,
    mode: caller.mode,
    lane,
    stored: { request: submit.request, references: body.references, mask: body.mask },
    warnings: submit.warnings,
    price,
    held: holdOf(price, submit.request.pictures),
    webhook: submit.webhook,
    language: submit.language,
    createdAt: now,
    deadlineAt: now + deps.deadlineMs,
  };
  return {
    task,
    references: body.kept,
    cap: caller.cap,
    tasksInFlight: caller.tasksInFlight,
    spendPerDay: caller.spendPerDay,
    accountLimits: caller.accountLimits,
    idempotency,
  };
}

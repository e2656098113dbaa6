/** What must be true, whatever has happened: after every step, and when everything has come to its end. */
import { sql } from "kysely";

import { findLockedUsage, listUsages } from "../../src/accounts/key-usage.ts";
import { checkLedger } from "../../src/billing/check.ts";
import { countPlaces } from "../../src/channels/load.ts";
import { loadLoads } from "../../src/channels/load-store.ts";
import { selectChannels } from "../../src/channels/store.ts";
import { minuteMs } from "../../src/lib/time.ts";
import { listPlaces } from "../../src/tasks/place-store.ts";
import { isFinal, taskTransitions } from "../../src/tasks/state.ts";
import { listOpenTaskIds } from "../../src/tasks/sweep-store.ts";
import { checkBills } from "./bills.ts";
import type { World } from "./world.ts";

const graceMs = minuteMs;

/** Cheap enough for every step. */
export async function checkStep(world: World): Promise<void> {
  await checkPlaces(world);
  await checkCaps(world);
  await checkEnds(world);
}

export async function checkBooks({ db, problems }: World): Promise<void> {
  const { problems: found } = await checkLedger({
    db,
    listOpenTaskIds,
    listUsages,
    findLockedUsage,
  });
  problems.push(...found);
}

/** The counts of capped channels are what the attempts hold, and never more than the cap. */
async function checkPlaces({ db, problems }: World): Promise<void> {
  const counted = countPlaces(await listPlaces(db.read));
  const stored = (await loadLoads(db.read)).filter(({ in_flight }) => in_flight > 0);
  if (JSON.stringify(stored) !== JSON.stringify(counted)) {
    problems.push(
      `channel_load says ${JSON.stringify(stored)}, the attempts ${JSON.stringify(counted)}`,
    );
  }
  const caps = new Map(
    (await selectChannels(db.read)).map(({ name, caps_json }) => [
      name,
      JSON.parse(caps_json) as Record<string, number>,
    ]),
  );
  for (const { channel, upstream_model, in_flight } of stored) {
    const cap = caps.get(channel)?.[upstream_model] ?? Infinity;
    if (in_flight > cap) problems.push(`${channel} has ${in_flight} of ${cap} places taken`);
  }
}

/** No key holds and has spent more than its cap; none has more tasks in flight than it may. */
async function checkCaps({ db, callers, problems }: World): Promise<void> {
  const usages = await db.read.selectFrom("key_usage").selectAll().execute();
  for (const { key_id, held, captured, in_flight } of usages) {
    const caller = callers.find(({ keyId }) => keyId === key_id);
    if (held + captured > (caller?.cap ?? Infinity)) problems.push(`${key_id} is past its cap`);
    if (in_flight > (caller?.tasksInFlight ?? Infinity)) problems.push(`${key_id} has too many`);
  }
}

/** What has ended stays as it ended, and what is past its deadline ends within a minute of service. */
async function checkEnds(world: World): Promise<void> {
  const { db, clock, ended, overdue, problems } = world;
  for (const row of await db.read.selectFrom("tasks").selectAll().execute()) {
    if (isFinal(taskTransitions, row.state)) {
      overdue.delete(row.id);
      const now = JSON.stringify(row);
      const first = ended.get(row.id) ?? now;
      ended.set(row.id, first);
      if (first !== now) problems.push(`${row.id} ended as ${first} and is now ${now}`);
    } else if (clock.now() > row.deadline_at) {
      const since = overdue.get(row.id) ?? world.servedMs;
      overdue.set(row.id, since);
      if (world.servedMs - since > graceMs) {
        problems.push(`${row.id} is ${row.state} a minute of service after its deadline`);
        overdue.delete(row.id);
      }
    }
  }
}

/** When nothing is under way any more. */
export async function checkEnd(world: World): Promise<void> {
  const { db, problems, accepted } = world;
  await checkStep(world);
  await checkBooks(world);
  const tasks = await db.read.selectFrom("tasks").selectAll().execute();
  const known = new Set(tasks.map(({ id }) => id));
  for (const id of accepted.keys()) if (!known.has(id)) problems.push(`${id} is lost`);
  const open = tasks.filter(({ state }) => !isFinal(taskTransitions, state));
  problems.push(...open.map(({ id, state }) => `${id} is still ${state}`));
  await checkOffences(world);
  await checkBills(world, tasks);
  await checkObjects(world);
  await checkTold(world);
}

/** Statements that find what is wrong: none may give a row. */
const offences: Record<string, string> = {
  "a task is still queued": "select task_id, state from queue",
  "an attempt is still under way": "select id from attempts where state in ('sent', 'running')",
  "a slot is still open": `
    select id from tasks t where pictures <>
      (select count(*) from slots s where s.account_id = t.account_id and s.task_id = t.id)`,
  "money is still held": "select account_id, mode, held from balances where held <> 0",
  "a place is still held": "select channel from channel_load where in_flight <> 0",
  "a task has not exactly one hold and one release": `
    select id from tasks t where 1 <> (select count(*) from ledger l where l.task_id = t.id and kind = 'hold')
    or 1 <> (select count(*) from ledger l where l.task_id = t.id and kind = 'release')`,
  "a task was charged for something else than its pictures": `
    select t.id from tasks t where t.captured <>
      (select coalesce(sum(s.captured), 0) from slots s where s.task_id = t.id and s.state = 'done')
    or t.captured <>
      (select coalesce(-sum(l.held), 0) from ledger l where l.task_id = t.id and l.kind = 'capture')
    or t.captured > t.held`,
  "a task is completed without a picture, or has one and is not": `
    select id from tasks t where (state = 'completed') <>
      exists (select 1 from outputs o where o.task_id = t.id)`,
  "a slot is done without a picture, or has one and is not": `
    select s.task_id, s.slot from slots s
    left join outputs o on o.task_id = s.task_id and o.slot = s.slot
    where (s.state = 'done') <> (o.slot is not null)`,
  "a webhook is not told exactly once": `
    select t.id from tasks t where
      (case when t.webhook is not null and t.state in ('completed', 'failed') then 1 else 0 end) <>
      (select count(*) from events e where e.task_id = t.id)`,
  "a webhook is still on its way, or was given up": `
    select id, state, tries, last_status, last_error from deliveries where state <> 'delivered'`,
  "a cost belongs to an attempt that failed": `
    select c.attempt_id from costs c join attempts a on a.id = c.attempt_id where a.state = 'failed'`,
};

async function checkOffences({ db, problems }: World): Promise<void> {
  for (const [offence, query] of Object.entries(offences)) {
    const { rows } = await sql.raw(query).execute(db.read);
    if (rows.length > 0) problems.push(`${offence}: ${JSON.stringify(rows.slice(0, 3))}`);
  }
}

/** Every picture that a row names is stored, whole, until somebody may remove it. */
async function checkObjects({ db, storage, problems }: World): Promise<void> {
  const outputs = await db.read.selectFrom("outputs").selectAll().execute();
  const references = await db.read.selectFrom("references").selectAll().execute();
  for (const { task_id, object, bytes } of [...outputs, ...references]) {
    if (storage.objects.get(object)?.length !== bytes)
      problems.push(`a picture of ${task_id} is gone`);
  }
}

/** Receivers' own logs against the outbox: an end that was committed is told of, and no other one. */
async function checkTold({ db, problems, receiver }: World): Promise<void> {
  const events = await db.read.selectFrom("events").selectAll().execute();
  const bodies = new Map(events.map(({ id, body }) => [id, body]));
  for (const { eventId, body } of receiver.told) {
    if (!bodies.has(eventId)) problems.push(`${eventId} was told of, and no row names it`);
    else if (bodies.get(eventId) !== body) problems.push(`${eventId} was told of in other words`);
  }
  const heard = new Set(receiver.told.map(({ eventId }) => eventId));
  for (const { id, task_id } of events) {
    if (!heard.has(id)) problems.push(`nobody was told of ${id}, the end of ${task_id}`);
  }
}

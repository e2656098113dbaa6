/** What the database says of a run, read around the gateway with SQL of its own. */
import { Client } from "pg";

import { markPattern } from "./menu.ts";

export type BookedTask = {
  id: string;
  mark: string;
  state: string;
  pictures: number;
  captured: number;
  /** Unix milliseconds; null while it has not ended. */
  endedAt: number | null;
  deadlineAt: number;
  outputs: number;
  captures: number;
  /** Attempts by their state. */
  attempts: Readonly<Record<string, number>>;
  /** What the attempts failed with, as JSON. */
  failures: string;
};

export type Open = {
  /** Tasks that have not ended. */
  tasks: number;
  /** Workers that are enlisted, the dead among them. */
  workers: number;
  /** Events that have not become deliveries, and deliveries that have not arrived. */
  webhooks: number;
};

/** Statements that find what is wrong once every task has ended: none may give a row. */
const offences: Record<string, string> = {
  "an attempt is still under way":
    "select id, state from attempts where state in ('sent', 'running')",
  "a slot is still open": `
    select id from tasks t where pictures <>
      (select count(*) from slots s where s.account_id = t.account_id and s.task_id = t.id)`,
  "a task is in the queue and has ended": `
    select q.task_id from queue q join tasks t on t.id = q.task_id where t.ended_at is not null`,
  "a slot is done without a picture, or has one and is not done": `
    select s.task_id, s.slot, s.state from slots s left join outputs o
      on o.account_id = s.account_id and o.task_id = s.task_id and o.slot = s.slot
    where (s.state = 'done') <> (o.slot is not null)`,
  "a delivered picture was not captured": `
    select o.task_id, o.slot from outputs o left join ledger l
      on l.account_id = o.account_id and l.id = 'capture:' || o.task_id || ':' || o.slot
    where l.id is null`,
  "a task has not exactly one hold and one release": `
    select t.id, l.kinds from tasks t left join
      (select task_id, string_agg(kind, ' ' order by kind) as kinds from ledger
       where kind in ('hold', 'release') group by task_id) l on l.task_id = t.id
    where l.kinds is distinct from 'hold release'`,
  "what was captured and released is not what was held": `
    select task_id, sum(held) from ledger where task_id is not null
    group by task_id having sum(held) <> 0`,
  "an ended task that asked to be told of has not exactly one event": `
    select t.id, e.count from tasks t left join
      (select task_id, count(*) from events group by task_id) e on e.task_id = t.id
    where t.webhook is not null and t.state in ('completed', 'failed')
      and e.count is distinct from 1`,
  "a task is known under two keys":
    "select task_id from idempotency group by task_id having count(*) > 1",
};

export async function countOpen(url: string): Promise<Open> {
  return inspect(url, async (client) => {
    const count = async (from: string): Promise<number> => {
      const { rows } = await client.query<{ value: number }>(
        `select count(*)::int as value from ${from}`,
      );
      return rows[0]?.value ?? 0;
    };
    return {
      tasks: await count("tasks where ended_at is null"),
      workers: await count("workers"),
      webhooks:
        (await count("events where expanded_at is null")) +
        (await count("deliveries where ended_at is null")),
    };
  });
}

export async function findOffences(url: string): Promise<string[]> {
  return inspect(url, async (client) => {
    const found: string[] = [];
    for (const [offence, query] of Object.entries(offences)) {
      const { rows } = await client.query(query);
      if (rows.length === 0) continue;
      found.push(`${offence}: ${rows.length} of them, ${JSON.stringify(rows.slice(0, 3))}`);
    }
    return found;
  });
}

type Row = {
  id: string;
  state: string;
  pictures: number;
  captured: string;
  request_json: string;
  ended_at: string | null;
  deadline_at: string;
  outputs: number;
  captures: number;
  attempts: Record<string, number> | null;
  failures: string | null;
};

export async function readBooks(url: string): Promise<BookedTask[]> {
  const { rows } = await inspect(url, (client) =>
    client.query<Row>(`
      select t.id, t.state, t.pictures, t.captured, t.request_json, t.ended_at, t.deadline_at,
        coalesce(o.count, 0)::int as outputs, coalesce(c.count, 0)::int as captures, a.attempts,
        a.failures
      from tasks t
      left join (select task_id, count(*) from outputs group by task_id) o on o.task_id = t.id
      left join (select task_id, count(*) from ledger where kind = 'capture' group by task_id) c
        on c.task_id = t.id
      left join (select task_id, json_object_agg(state, count) as attempts,
          string_agg(failures, ' ') as failures from
          (select task_id, state, count(*), string_agg(failure_json, ' ') as failures
            from attempts group by task_id, state) s
          group by task_id) a on a.task_id = t.id
      order by t.id`),
  );
  return rows.map((row) => ({
    id: row.id,
    mark: markPattern.exec(row.request_json)?.[0] ?? "",
    state: row.state,
    pictures: row.pictures,
    captured: Number(row.captured),
    endedAt: row.ended_at === null ? null : Number(row.ended_at),
    deadlineAt: Number(row.deadline_at),
    outputs: row.outputs,
    captures: row.captures,
    attempts: row.attempts ?? {},
    failures: row.failures ?? "",
  }));
}

async function inspect<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Fills tables by copying what a real task has left in them, under other ids. */
import type { Client } from "pg";

/** Every table with rows of a task, and the column that names it. */
const tables = {
  tasks: "id",
  slots: "task_id",
  queue: "task_id",
  attempts: "task_id",
  outputs: "task_id",
  costs: "task_id",
  ledger: "task_id",
  events: "task_id",
} as const;

/** Columns that tell the rows of a task apart, and stand beside its id in a key. */
const ownIds = new Set(["attempts.id", "events.id", "costs.attempt_id"]);
const batch = 20_000;

/**
 * Copies the rows of a task `count` times, with ids that begin at `from` and come before all real ones. In the
 * queue a copy stands where its number says.
 */
export async function copyTask(
  client: Client,
  taskId: string,
  { count, from = 0 }: { count: number; from?: number },
): Promise<void> {
  const statements: (string | null)[] = [];
  for (const [table, column] of Object.entries(tables)) {
    statements.push(await createCopy(client, table, { taskId, column }));
  }
  for (let first = from; first < from + count; first += batch) {
    const last = Math.min(first + batch, from + count) - 1;
    for (const statement of statements) {
      if (statement !== null) await client.query(statement, [first, last]);
    }
  }
  for (const table of Object.keys(tables)) await client.query(`vacuum analyze ${table}`);
}

/** Null for a table that the task has no rows in. */
async function createCopy(
  client: Client,
  table: string,
  { taskId, column }: { taskId: string; column: string },
): Promise<string | null> {
  const { rows } = await client.query<{ name: string }>(
    `select column_name as name from information_schema.columns
     where table_name = $1 and exists (select 1 from ${table} where ${column} = $2)
     order by ordinal_position`,
    [table, taskId],
  );
  if (rows.length === 0) return null;
  const names = rows.map(({ name }) => name);
  const values = names.map((name) => {
    if (ownIds.has(`${table}.${name}`)) return `${name} || '-' || n`;
    if (name === "tag") return "n";
    if (name !== column && !(table === "ledger" && name === "id")) return name;
    return `replace(${name}, '${taskId}', ${copiedId("n")})`;
  });
  return `insert into ${table} (${names.join(", ")}) select ${values.join(", ")}
    from ${table}, generate_series($1::int, $2::int) n where ${column} = '${taskId}'`;
}

/** SQL for the id of a copy, of the form and length of a real one. */
export function copiedId(number: string): string {
  return `'task_' || lpad(${number}::text, 26, '0')`;
}

/** The vendors' own logs against the gateway's rows: what was made, what was billed, and what it was made from. */
import type { AttemptRow, CostRow, TaskRow } from "../../src/db/schema.ts";
import { must } from "../../src/lib/errors.ts";
import type { SimulatedVendor } from "./vendor.ts";
import type { World } from "./world.ts";

/** The vendors' own logs against our attempts and costs: nothing bought twice, nothing billed that we do not know of. */
export async function checkBills(world: World, tasks: readonly TaskRow[]): Promise<void> {
  const { db, problems, vendors } = world;
  const attempts = await db.read.selectFrom("attempts").selectAll().execute();
  const costs = await db.read.selectFrom("costs").selectAll().execute();
  const books: Books = {
    attempts: new Map(attempts.map((row) => [row.id, row])),
    costs: new Map(costs.map((row) => [row.attempt_id, row])),
  };
  for (const vendor of [...vendors, world.testVendor]) checkSubmits(vendor, books, problems);
  for (const vendor of vendors) checkVendor(vendor, books, problems);
  const bills = new Map(
    [...vendors, world.testVendor].flatMap((vendor) =>
      vendor.bills.map((bill) => [bill.attemptId, { ...bill, vendor }] as const),
    ),
  );
  for (const row of attempts) {
    const booked = books.costs.get(row.id)?.amount ?? 0;
    if (row.state === "done" && booked > 0 && !bills.has(row.id)) {
      problems.push(`${row.id} is booked at ${booked} and nobody has billed it`);
    }
  }
  for (const { id } of tasks) {
    const own = attempts.filter(({ task_id }) => task_id === id);
    checkSlots(id, own, { bills, problems });
    checkSources(world, id, own);
  }
  await checkDropped(world, attempts);
}

type Books = { attempts: Map<string, AttemptRow>; costs: Map<string, CostRow> };

function checkSubmits(
  { name, resend, submits, polled }: SimulatedVendor,
  { attempts }: Books,
  problems: string[],
) {
  const seen = new Set<string>();
  for (const id of submits) {
    if (attempts.get(id)?.channel !== name)
      problems.push(`${name} was sent ${id}, which no row names`);
    if (seen.has(id) && resend === "never") problems.push(`${name} was sent ${id} twice`);
    seen.add(id);
  }
  // Polls go by handles that are committed: a worker that dies while it polls must leave one behind.
  for (const id of polled) {
    if (attempts.get(id)?.handle_json === null)
      problems.push(`${name} was polled for ${id} without a handle`);
  }
}

function checkVendor(
  { name, bills }: SimulatedVendor,
  { attempts, costs }: Books,
  problems: string[],
) {
  const billed = new Set<string>();
  for (const { attemptId, amount } of bills) {
    if (billed.has(attemptId)) problems.push(`${name} billed ${attemptId} twice`);
    billed.add(attemptId);
    const state = attempts.get(attemptId)?.state;
    const cost = costs.get(attemptId);
    if (cost === undefined) {
      problems.push(`${name} billed ${attemptId}, which is ${state}, and no cost is booked`);
    } else if (state === "done" && cost.amount !== amount) {
      problems.push(`${name} billed ${attemptId} ${amount}, and ${cost.amount} is booked`);
    } else if (state === "unknown" && cost.fate !== "wasted") {
      problems.push(`${attemptId} is unknown, and its cost is not waste`);
    }
  }
}

type BilledBy = { attemptId: string; slots: readonly number[]; vendor: SimulatedVendor };

/** A picture is bought once; once more only where a channel was told to try again after an unknown outcome. */
function checkSlots(
  taskId: string,
  attempts: readonly AttemptRow[],
  { bills, problems }: { bills: ReadonlyMap<string, BilledBy>; problems: string[] },
): void {
  const bought = new Map<number, BilledBy[]>();
  for (const { id } of attempts) {
    const bill = bills.get(id);
    for (const slot of bill?.slots ?? []) {
      if (bill !== undefined) bought.set(slot, [...(bought.get(slot) ?? []), bill]);
    }
  }
  for (const [slot, buys] of bought) {
    const retried = attempts.filter(
      ({ state, channel, slots_json }) =>
        state === "unknown" &&
        channel === "jobs" &&
        (JSON.parse(slots_json) as number[]).includes(slot),
    ).length;
    if (buys.length > 1 + Math.min(1, retried)) {
      const names = buys.map(({ vendor, attemptId }) => `${vendor.name} ${attemptId}`).join(", ");
      problems.push(`slot ${slot} of ${taskId} was bought ${buys.length} times: ${names}`);
    }
  }
}

/** Every slot, every channel and every rescue works from the same references. */
function checkSources(
  { vendors, testVendor, problems }: World,
  taskId: string,
  attempts: readonly AttemptRow[],
): void {
  const seen = [...vendors, testVendor].flatMap(({ sources }) =>
    attempts.flatMap(({ id }) => sources.get(id) ?? []),
  );
  if (new Set(seen).size > 1) problems.push(`${taskId} was made from other references each time`);
}

/** A picture that was made whole, and told of, is delivered: hosts fail only in passing, and links can be made anew. */
async function checkDropped(
  { db, vendors, testVendor, problems }: World,
  attempts: readonly AttemptRow[],
): Promise<void> {
  const slots = await db.read.selectFrom("slots").selectAll().execute();
  const dropped = slots.filter(
    ({ error_json }) =>
      error_json !== null && (JSON.parse(error_json) as { code: string }).code === "no_image",
  );
  for (const { task_id, slot } of dropped) {
    const last = attempts.findLast(
      (row) => row.task_id === task_id && (JSON.parse(row.slots_json) as number[]).includes(slot),
    );
    const { id, channel } = must(last, `an attempt for slot ${slot} of ${task_id}`);
    const vendor = [...vendors, testVendor].find(({ name }) => name === channel);
    const isWhole = vendor?.wellMade.get(id)?.has(slot) === true;
    if (isWhole && !vendor.forgotten.has(id)) {
      problems.push(`the picture that ${id} has made for slot ${slot} of ${task_id} was dropped`);
    }
  }
}

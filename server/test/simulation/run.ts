/**
 * Many runs: `npm run simulate -- --seeds 2000`, from `--from N` on; `--seed N` repeats one and tells what
 * happened in it. Exits with 1 when a promise was broken.
 */
import { parseArgs } from "node:util";

import { simulate } from "./simulate.ts";
import type { Outcome } from "./simulate.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
  },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const repeated = values.seed === undefined ? null : Number(values.seed);
const first = repeated ?? Number(values.from);
const last = repeated ?? first + Number(values.seeds) - 1;
const totals = new Map<string, number>();
let broken = 0;

for (let seed = first; seed <= last; seed += 1) {
  const outcome = await simulate(seed);
  for (const [name, count] of Object.entries(outcome.facts)) {
    totals.set(name, (totals.get(name) ?? 0) + count);
  }
  if (repeated !== null) for (const event of outcome.trace) say(event);
  if (outcome.problems.length > 0) tell(outcome);
  if (repeated === null && seed % 100 === 0) say(`seed ${seed}: ${broken} broken so far`);
}
for (const [name, count] of totals) say(`${name.padEnd(20)} ${count}`);
say(`${last - first + 1} runs, ${broken} broken`);
process.exitCode = broken === 0 ? 0 : 1;

function tell({ seed, problems }: Outcome): void {
  broken += 1;
  say(`BROKEN by seed ${seed}; repeat it with: npm run simulate -- --seed ${seed}`);
  for (const problem of problems.slice(0, 5)) say(`  ${problem}`);
}

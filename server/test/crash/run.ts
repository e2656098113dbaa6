/** The long run: `npm run crash -- --kills 200 --seed 1`. Exits with 1 when a promise was broken. */
import { parseArgs } from "node:util";

import { runCrashes } from "./crash.ts";

const { values } = parseArgs({
  options: { kills: { type: "string", default: "200" }, seed: { type: "string" } },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const kills = Number(values.kills);
const log = (line: string): void => void process.stdout.write(`${line}\n`);

log(`seed ${seed}: to make the same choices again, add --seed ${seed}`);
const { problems, facts } = await runCrashes({ kills, seed, log });
for (const [name, value] of Object.entries(facts)) log(`${name.padEnd(14)} ${value}`);
for (const problem of problems) log(`BROKEN ${problem}`);
process.exitCode = problems.length === 0 ? 0 : 1;

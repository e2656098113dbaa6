/**
 * The long run: `npm run chaos -- --kills 1000 --minutes 45`. It ends with so many kills, or when the time is up,
 * and hurries when it is behind. Exits with 1 when a promise was broken.
 */
import { parseArgs } from "node:util";

import { findMissing } from "../support/postgres-server.ts";
import { runChaos } from "./chaos.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    kills: { type: "string", default: "Infinity" },
    seed: { type: "string" },
    /** Milliseconds between two deeds. */
    pause: { type: "string", default: "1500" },
    /** Seconds that a task may take. */
    deadline: { type: "string", default: "90" },
  },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const log = (line: string): void => void process.stdout.write(`${line}\n`);

// Nodes end with this process, and that is told of an exit only.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
const missing = findMissing();
if (missing !== null) throw new Error(missing);
log(`seed ${seed}: to make the same choices again, add --seed ${seed}`);
const { problems, facts } = await runChaos({
  seed,
  forMs: Number(values.minutes) * 60_000,
  killsMax: Number(values.kills),
  pauseMs: Number(values.pause),
  deadlineSeconds: Number(values.deadline),
  log,
});
for (const [name, value] of Object.entries(facts)) {
  log(`${name.padEnd(16)} ${JSON.stringify(value)}`);
}
for (const problem of problems) log(`BROKEN ${problem}`);
process.exitCode = problems.length === 0 ? 0 : 1;

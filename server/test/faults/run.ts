/** The long run: every vendor, alone and in pairs. `npm run faults`. Exits with 1 when a promise was broken. */
import { parseArgs } from "node:util";

import { describe, killEverywhere } from "./kills.ts";
import { vendors } from "./vendors.ts";
import type { VendorName } from "./vendors.ts";

const names = Object.keys(vendors) as VendorName[]; // the names of a constant object
const { values } = parseArgs({ options: { vendor: { type: "string", multiple: true } } });
const wanted = names.filter((name) => values.vendor?.includes(name) ?? true);
/** FLUX makes one picture a task, on whatever serves it. */
const single: readonly VendorName[] = ["bfl", "comfyui"];
const log = (line: string): void => void process.stdout.write(`${line}\n`);

for (const vendor of wanted) {
  const shapes = single.includes(vendor)
    ? [
        { tasks: 1, pictures: 1 },
        { tasks: 2, pictures: 1 },
      ]
    : [
        { tasks: 1, pictures: 1 },
        { tasks: 1, pictures: 2 },
        { tasks: 2, pictures: 2 },
      ];
  for (const shape of shapes) {
    const scenario = { vendor, ...shape };
    const { problems, killedAt, ends } = await killEverywhere(scenario, log);
    log(`${describe(scenario)}: killed ${killedAt.length} times; ${JSON.stringify(ends)}`);
    for (const problem of problems) log(`BROKEN ${problem}`);
    if (problems.length > 0) process.exitCode = 1;
  }
}

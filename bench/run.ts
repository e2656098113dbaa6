/** `npm run bench [-- SUITE …]`: prints one table a suite. */
import { benchDelivery } from "./delivery.ts";
import { benchProcess } from "./process.ts";
import { benchScale } from "./scale.ts";
import { benchSubmit } from "./submit.ts";
import { benchVendors } from "./vendors.ts";

const rounds = 5;
const secondsARound = 5;

const suites: Record<string, () => Promise<void>> = {
  submit: () => benchSubmit(rounds, secondsARound),
  process: benchProcess,
  vendors: benchVendors,
  delivery: benchDelivery,
  scale: benchScale,
};

const wanted = process.argv.slice(2);
for (const name of wanted.length === 0 ? Object.keys(suites) : wanted) {
  const suite = suites[name];
  if (suite === undefined) {
    throw new Error(`no suite ${name}; use ${Object.keys(suites).join(", ")}`);
  }
  process.stdout.write(`\n## ${name}\n`);
  await suite();
}

/** `npm run bench [-- SUITE …]`: prints one table a suite. */
import { benchSubmit } from "./submit.ts";

const suites: Record<string, () => Promise<void>> = {
  submit: () => benchSubmit(5, 5),
};

const wanted = process.argv.slice(2);
for (const name of wanted.length === 0 ? Object.keys(suites) : wanted) {
  const suite = suites[name];
  if (suite === undefined)
    throw new Error(`no suite ${name}; use ${Object.keys(suites).join(", ")}`);
  process.stdout.write(`\n## ${name}\n`);
  await suite();
}

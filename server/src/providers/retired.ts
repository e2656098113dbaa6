/** Upstream names that their vendors have ended, or will: an operator is warned before callers notice. */

/** `prefix`: the name, and everything that begins with it. */
type Retirement = {
  provider: "openai" | "gemini";
  name: string;
  prefix?: true;
  date: string;
  use: string;
};

const flare = "gpt-image-2.5-flare";
const sunburst = "gpt-image-2.5-sunburst";
const lite = "gemini-3.1-flash-lite-image";
const banana = "gemini-nano-banana-2.1";

/** As the vendors' pages of deprecations say; dates are the last day, or the first without service. */
const retirements: readonly Retirement[] = [
  { provider: "openai", name: "gpt-image-1", date: "2026-10-23", use: flare },
  { provider: "openai", name: "gpt-image-1.5", prefix: true, date: "2026-12-01", use: sunburst },
  { provider: "openai", name: "gpt-image-1-mini", date: "2026-12-01", use: flare },
  { provider: "openai", name: "chatgpt-image-latest", date: "2026-12-01", use: flare },
  { provider: "openai", name: "dall-e-", prefix: true, date: "2026-05-12", use: flare },
  { provider: "gemini", name: "gemini-2.5-flash-image-preview", date: "2026-01-15", use: lite },
  { provider: "gemini", name: "gemini-2.5-flash-image", date: "2026-10-02", use: lite },
  { provider: "gemini", name: "gemini-3.1-flash-image-preview", date: "2026-06-25", use: banana },
  { provider: "gemini", name: "gemini-3.1-flash-image", date: "2026-10-29", use: banana },
  { provider: "gemini", name: "imagen-", prefix: true, date: "2026-08-17", use: banana },
];

/** One sentence for the operator about an upstream name that is known to end, or null. `now`: unix milliseconds. */
export function findRetirement(
  provider: string,
  upstreamModel: string,
  now: number,
): string | null {
  const vendor = provider === "gemini-interactions" ? "gemini" : provider;
  const found = retirements.find(
    (one) =>
      one.provider === vendor &&
      (one.prefix === true ? upstreamModel.startsWith(one.name) : upstreamModel === one.name),
  );
  if (found === undefined) return null;
  const verb =
    Date.parse(found.date) <= now
      ? "was shut down by its vendor on"
      : "will be shut down by its vendor on";
  return `${upstreamModel} ${verb} ${found.date}; use ${found.use}`;
}

/** A model's page in Markdown, and the index of all pages, written from the catalogue alone. */
import { formatUsd } from "../lib/money.ts";
import { exampleBodies } from "./examples.ts";
import { submitPath } from "./present.ts";
import { priceRows } from "./price-rows.ts";
import type { PriceOverrides } from "./price-rows.ts";
import { priceOf } from "./public-prices.ts";
import { anyTier } from "./row.ts";
import type { Model, Parameter, ReferenceRule } from "./row.ts";
import { formatCount } from "./words.ts";

export type PageFacts = {
  overrides: PriceOverrides;
  /** Under which callers reach the server; no slash at its end. */
  publicUrl: string;
};

/** `/docs/models/{id}.md`. */
export function renderModelPage(model: Model, facts: PageFacts): string {
  const sections = [
    `# ${model.id}`,
    model.description,
    `By ${model.ownedBy}. A picture usually takes about ${model.estimatedSeconds} s.`,
    "## Parameters",
    parameterTable(model),
    ...(model.references === null ? [] : ["## References", referenceText(model.references)]),
    ...(model.mask === null ? [] : ["## Masks", maskText(model)]),
    "## Pixels",
    pixelText(model),
    "## Prices",
    priceText(model, facts.overrides),
    ...(model.notes.length === 0 ? [] : ["## Notes", list(model.notes)]),
    "## Examples",
    ...exampleBodies(model).map(({ summary, body }) => `${summary}:\n\n${json(body)}`),
    curl(model, facts.publicUrl),
  ];
  return `${sections.join("\n\n")}\n`;
}

/** `/llms.txt`: what there is, and where to read on. */
export function renderIndex(models: readonly Model[], publicUrl: string): string {
  const pages = models.map(
    ({ id, description }) => `- [${id}](${publicUrl}/docs/models/${id}.md): ${description}`,
  );
  return `# Darkroom

> A gateway to image models. Post a prompt to one address and get a task id at once; the picture is
> read by polling the task.

- Send \`Authorization: Bearer sk-…\` with every request. Keys that begin with \`sk-test-\` draw sample
  pictures for play money; use one while you write code.
- \`POST ${publicUrl}${submitPath}\` with \`{"model": "…", "prompt": "…"}\` answers
  \`{"code":200,"data":[{"status":"submitted","task_id":"task_…"}]}\`.
- \`GET ${publicUrl}/v1/tasks/{task_id}\` answers \`data.status\`: pending, processing, completed, failed or
  cancelled; \`?wait=30\` answers as soon as it has ended. When it is completed, the links are in \`data.result.images[].url\`; save the files before
  \`expires_at\`.
- \`Prefer: wait=60\` on the submit answers with the finished task; \`GET …/v1/tasks/{task_id}/events\` streams every
  change; \`webhook\` in the body is called at \`/callback\` when the task has ended.
- Clients of the OpenAI SDK: set the base URL to ${publicUrl}/openai/v1 and use the same key.
- Send an \`Idempotency-Key\` header with a submit: repeating it makes no second task.
- \`POST ${publicUrl}/v1/images/estimate\` with the body of a submit says what it would cost.
- A refusal is \`{"error":{"code","message","type","param","reason"}}\`; decide by \`reason\`.

## API

- [OpenAPI 3.1 document](${publicUrl}/openapi.json): every route, parameter, reply and refusal
- [Reference for people](${publicUrl}/docs)

## Models

${pages.join("\n")}
`;
}

function parameterTable(model: Model): string {
  const prompt = `What the picture shows, in at most ${formatCount(model.prompt.codePointsMax)} characters.`;
  const { max, outside } = model.pictures;
  const clamped = outside === "clamped" ? " Values outside are taken as the nearest." : "";
  const rows: string[][] = [
    ["model", `\`${model.id}\``, "required", "The model."],
    ["prompt", "text", "required", prompt],
    ["n", max === 1 ? "1" : `1 to ${max}`, "1", `Number of pictures.${clamped}`],
    ...model.parameters.map(parameterRow),
  ];
  if (model.officialFallback) {
    const text = "Let the vendor's official channel make the picture when the usual one cannot.";
    rows.push(["official_fallback", "`true`, `false`", "`false`", text]);
  }
  rows.push(
    ["webhook", "URL", "none", "The finished task is posted to this address plus `/callback`."],
    ["language", "text", "`en`", "Language of the error text that is posted there."],
  );
  return table(
    ["Parameter", "Values", "Default", "Meaning"],
    rows.map(([name = "", ...rest]) => [`\`${name}\``, ...rest]),
  );
}

function parameterRow(parameter: Parameter): string[] {
  const { name, description } = parameter;
  if (parameter.type === "ignored") return [name, "any", "none", `Ignored: it ${description}.`];
  if (parameter.type === "integer") {
    const fallback = parameter.default === undefined ? "none" : `${parameter.default}`;
    return [name, `${parameter.min} to ${parameter.max}`, fallback, description];
  }
  if (parameter.type === "boolean") {
    return [name, "`true`, `false`", `\`${String(parameter.default)}\``, description];
  }
  const words = parameter.values.map((word) => `\`${word}\``).join(", ");
  const pixels = parameter.pixels === undefined ? "" : ", or pixels as `WIDTHxHEIGHT`";
  return [name, `${words}${pixels}`, choiceDefault(parameter), description];
}

function choiceDefault(parameter: Extract<Parameter, { type: "choice" }>): string {
  const { default: usual, defaultWithoutReferences: without } = parameter;
  if (usual === undefined && without === undefined) return "none";
  if (usual === undefined) return `\`${without}\` without references`;
  return without === undefined || without === usual
    ? `\`${usual}\``
    : `\`${usual}\`; \`${without}\` without references`;
}

function referenceText(rule: ReferenceRule): string {
  const forms = { url: "http(s) URLs", data: "data URIs", base64: "bare base64" };
  const accepted = rule.accepts.map((form) => forms[form]).join(", ");
  return (
    `\`image_urls\` takes at most ${rule.countMax} pictures (jpeg, png or webp) as ${accepted}, each of at ` +
    `most ${rule.bytesMax / 1_048_576} MB and ${rule.pixelsMax / 1_000_000} megapixels.`
  );
}

function maskText(model: Model): string {
  const result =
    model.mask?.result === "first_reference"
      ? " The result has the first reference's pixels, as png."
      : "";
  return (
    "`mask_url` takes one picture with an alpha channel and the first reference's size; its transparent " +
    `pixels are repainted. It needs \`image_urls\`.${result}`
  );
}

function pixelText({ pixels, format }: Model): string {
  const exact = pixels.isExact
    ? "Pictures have exactly these pixels."
    : "The ratio is kept; the true pixels come with the result.";
  const tiers = Object.entries(pixels.table);
  const ratios = [...new Set(tiers.flatMap(([, sizes]) => Object.keys(sizes)))];
  const head = ["size", ...tiers.map(([tier]) => (tier === anyTier ? "pixels" : tier))];
  const rows = ratios.map((ratio) => [
    ratio,
    ...tiers.map(([, sizes]) => {
      const size = sizes[ratio];
      return size === undefined ? "–" : `${size.width}x${size.height}`;
    }),
  ]);
  const words =
    "parameter" in format
      ? `The format is chosen by \`${format.parameter}\`: ${Object.keys(format.words).join(", ")}.`
      : `The format is ${format.fixed}${format.isExact ? "" : " in the sandbox, and otherwise as the vendor sends it"}.`;
  return `${exact} ${words}\n\n${table(head, rows)}`;
}

function priceText(model: Model, overrides: PriceOverrides): string {
  const rows = priceRows(model).map((row) => {
    const price = priceOf(row, overrides);
    return [row.row, row.tier, price === null ? "not set" : formatUsd(price), row.unit];
  });
  const note = "USD, before an account's own ratio; failed and cancelled tasks cost nothing.";
  return `${model.billing}. ${note}\n\n${table(["Row", "Tier", "USD", "For each"], rows)}`;
}

function curl(model: Model, publicUrl: string): string {
  const body = JSON.stringify({ model: model.id, prompt: "A lighthouse at dusk" });
  const lines = [
    `curl ${publicUrl}${submitPath} \\`,
    '  -H "Authorization: Bearer $DARKROOM_API_KEY" \\',
    '  -H "Content-Type: application/json" \\',
    `  -d '${body}'`,
  ];
  return `On the command line:\n\n\`\`\`sh\n${lines.join("\n")}\n\`\`\``;
}

function json(value: unknown): string {
  return `\`\`\`json\n${JSON.stringify(value, null, 2)}\n\`\`\``;
}

function list(items: readonly string[]): string {
  return items.map((item) => `- ${item}`).join("\n");
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  return [line(head), `|${" --- |".repeat(head.length)}`, ...rows.map(line)].join("\n");
}

import { anyTier, commonFields, pictureRow, referenceRow } from "./row.ts";
import type { ChoiceParameter, Model, Parameter } from "./row.ts";

/**
 * What a row says against itself, in words; empty for a good row. A request that the validator lets
 * through can then always be sized, formatted and priced.
 */
export function findContradictions(model: Model): string[] {
  return [
    ...checkBounds(model),
    ...checkNames(model),
    ...model.parameters.flatMap((parameter) => checkParameter(model, parameter)),
    ...checkConflicts(model),
    ...checkPixels(model),
    ...checkFormat(model),
    ...checkPrices(model),
  ];
}

function checkBounds(model: Model): string[] {
  const problems: string[] = [];
  if (!/^[a-z0-9][a-z0-9.-]{0,63}$/.test(model.id)) problems.push("id is not a plain name");
  const counts = {
    "prompt.codePointsMax": model.prompt.codePointsMax,
    "pictures.max": model.pictures.max,
    estimatedSeconds: model.estimatedSeconds,
    "references.countMax": model.references?.countMax ?? 1,
    "references.bytesMax": model.references?.bytesMax ?? 1,
    "references.pixelsMax": model.references?.pixelsMax ?? 1,
  };
  for (const [name, count] of Object.entries(counts)) {
    if (!Number.isSafeInteger(count) || count < 1)
      problems.push(`${name} is not a positive integer`);
  }
  if (model.mask !== null && model.references === null) problems.push("mask without references");
  return problems;
}

function checkNames(model: Model): string[] {
  const names = model.parameters.map(({ name }) => name);
  const reserved: readonly string[] = commonFields;
  return names.flatMap((name, index) => [
    ...(reserved.includes(name) ? [`parameter ${name} has a reserved name`] : []),
    ...(names.indexOf(name) === index ? [] : [`parameter ${name} stands twice`]),
  ]);
}

function checkParameter(model: Model, parameter: Parameter): string[] {
  const problems: string[] = [];
  const { name } = parameter;
  if (parameter.type === "choice") problems.push(...checkChoice(parameter));
  if (parameter.type === "integer") {
    const value = parameter.default ?? parameter.min;
    if (!(parameter.min <= value && value <= parameter.max)) problems.push(`default of ${name}`);
  }
  if (parameter.type === "boolean" && parameter.needs !== undefined) {
    if (findParameter(model, parameter.needs)?.type !== "boolean") problems.push(`${name} needs`);
  }
  const rule = parameter.ignoredWhen;
  if (rule?.kind === "equals") {
    const other = findParameter(model, rule.parameter);
    if (other?.type !== "choice" || !other.values.includes(rule.value)) {
      problems.push(`${name} is ignored with an unknown value`);
    }
  }
  return problems;
}

function checkChoice(parameter: ChoiceParameter): string[] {
  const { name, values } = parameter;
  const words = [
    parameter.default,
    parameter.defaultWithoutReferences,
    parameter.lowered?.to,
    ...Object.entries(parameter.means ?? {}).flat(),
    ...Object.entries(parameter.meansWithoutReferences ?? {}).flat(),
  ];
  return words.flatMap((word) =>
    word === undefined || values.includes(word) ? [] : [`${name} knows no "${word}"`],
  );
}

function checkConflicts(model: Model): string[] {
  return model.conflicts.flatMap(({ parameter, value, other, otherValue }) =>
    valuesOf(model, parameter).includes(value) && valuesOf(model, other).includes(otherValue)
      ? []
      : [`conflict of ${parameter} and ${other} names unknown values`],
  );
}

/** Every ratio that a request can end with has pixels in every tier. */
function checkPixels(model: Model): string[] {
  const { table, match } = model.pixels;
  const tiers =
    findParameter(model, "resolution") === null ? [anyTier] : canonical(model, "resolution");
  const ratios = canonical(model, "size").filter((word) => word !== "auto" && word !== match?.word);
  return tiers.flatMap((tier) =>
    [...ratios, "1:1"].flatMap((ratio) => {
      const size = table[tier]?.[ratio];
      return size !== undefined && size.width > 0 && size.height > 0
        ? []
        : [`no pixels for ${ratio} at ${tier}`];
    }),
  );
}

function checkFormat(model: Model): string[] {
  const rule = model.format;
  if (!("parameter" in rule)) return [];
  const parameter = findParameter(model, rule.parameter);
  if (parameter?.type !== "choice" || parameter.default === undefined) {
    return [`format follows ${rule.parameter}, which has no default`];
  }
  return parameter.values.flatMap((word) =>
    Object.hasOwn(rule.words, word) ? [] : [`no format for ${rule.parameter} ${word}`],
  );
}

function checkPrices(model: Model): string[] {
  const { prices } = model;
  const tables = Object.entries(prices.tables);
  const problems = tables.length === 0 ? ["no prices"] : [];
  if (model.officialFallback && tables.length < 2)
    problems.push("official_fallback without a price");
  const needed = prices.billing === "tokens" ? Object.values(prices.rows) : pictureRows(model);
  for (const [tier, table] of tables) {
    for (const row of needed) {
      if (!Object.hasOwn(table, row)) problems.push(`no ${tier} price row ${row}`);
    }
    for (const [row, price] of Object.entries(table)) {
      if (price !== null && !(Number.isSafeInteger(price) && price >= 0)) {
        problems.push(`${tier} price of ${row} is not whole micro-USD`);
      }
      if (row !== referenceRow && !needed.includes(row)) problems.push(`unused price row ${row}`);
    }
  }
  problems.push(...(prices.billing === "tokens" ? checkTokens(model) : checkRowNames(model)));
  return problems;
}

function checkTokens(model: Model): string[] {
  if (model.prices.billing !== "tokens") return [];
  const { output } = model.prices.tokens;
  if (output.kind === "fixed") return [];
  const words = valuesOf(model, "quality").filter((word) => word !== output.auto);
  return [...words, output.fallback].flatMap((word) =>
    Object.hasOwn(output.by, word) ? [] : [`no output tokens for quality ${word}`],
  );
}

/** A parameter that names a price row always has a value. */
function checkRowNames(model: Model): string[] {
  const by = model.prices.billing === "picture" ? model.prices.by : [];
  return by.flatMap((name) => {
    const parameter = findParameter(model, name);
    const hasValue =
      parameter?.type === "choice" &&
      parameter.default !== undefined &&
      parameter.ignoredWhen === undefined;
    return hasValue ? [] : [`${name} names a price row and can be without a value`];
  });
}

/** The row of every combination of values that a price depends on. */
function pictureRows(model: Model): string[] {
  if (model.prices.billing !== "picture") return [];
  const { by, auto } = model.prices;
  let rows: string[] = [];
  for (const name of by) {
    const words = canonical(model, name).filter(
      (word) => auto?.parameter !== name || word !== auto.value,
    );
    rows = rows.length === 0 ? words : rows.flatMap((row) => words.map((word) => `${row}/${word}`));
  }
  return by.length === 0 ? [pictureRow] : rows;
}

function findParameter(model: Model, name: string): Parameter | null {
  return model.parameters.find((parameter) => parameter.name === name) ?? null;
}

function valuesOf(model: Model, name: string): readonly string[] {
  const parameter = findParameter(model, name);
  return parameter?.type === "choice" ? parameter.values : [];
}

/** Values without those that only mean another one. */
function canonical(model: Model, name: string): string[] {
  const parameter = findParameter(model, name);
  if (parameter?.type !== "choice") return [];
  const { means } = parameter;
  return parameter.values.filter((word) => means === undefined || !Object.hasOwn(means, word));
}

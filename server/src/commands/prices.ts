import { loadOverrides, setFree, setPrice, unsetPrice } from "../billing/prices.ts";
import type { Installation } from "../installation.ts";
import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { formatUsd, toUsd } from "../lib/money.ts";
import { freeRow, priceRows } from "../models/price-rows.ts";
import type { PriceRow } from "../models/price-rows.ts";
import type { Model } from "../models/row.ts";
import { formatTable, parseUsdOf } from "./command.ts";
import type { Command, CommandInput } from "./command.ts";

export const priceCommands: readonly Command[] = [
  {
    name: "prices list",
    usage: "[MODEL]",
    summary: "Lists the prices in force, and whether each is the list price or was set.",
    options: {},
    positionals: ["MODEL?"],
    run: listPrices,
  },
  {
    name: "prices set",
    usage: "MODEL ROW USD",
    summary: "Sets one price, in USD for the row's unit; tasks already submitted keep theirs.",
    options: {},
    positionals: ["MODEL", "ROW", "USD"],
    run: setOne,
  },
  {
    name: "prices free",
    usage: "MODEL",
    summary: "Serves a model for nothing.",
    options: {},
    positionals: ["MODEL"],
    run: makeFree,
  },
  {
    name: "prices unset",
    usage: "MODEL [ROW]",
    summary: "Goes back to the list price, of one row or of the whole model.",
    options: {},
    positionals: ["MODEL", "ROW?"],
    run: unset,
  },
];

type Overrides = ReadonlyMap<string, number> | undefined;
type Priced = PriceRow & { model: string; price: number | null; source: "list" | "set" | "free" };

async function listPrices({ db, catalogue }: Installation, input: CommandInput) {
  const wanted = input.word(0);
  const models = wanted === null ? catalogue.list() : [catalogue.load(wanted)];
  const overrides = await loadOverrides(db.read);
  const prices = models.flatMap((model) =>
    priceRows(model).map((row) => priceOf(model, row, overrides.get(model.id))),
  );
  const rows = prices.map(({ model, row, price, unit, source }) => [
    model,
    row,
    price === null ? "not set" : formatUsd(price),
    `a ${unit}`,
    source,
  ]);
  return {
    text: formatTable(["MODEL", "ROW", "USD", "UNIT", "SOURCE"], rows),
    json: { currency: "USD", prices: prices.map(presentPrice) },
  };
}

function priceOf(model: Model, row: PriceRow, overrides: Overrides): Priced {
  const own = overrides?.get(row.row);
  if (own !== undefined) return { ...row, model: model.id, price: own, source: "set" };
  if (overrides?.has(freeRow) === true)
    return { ...row, model: model.id, price: 0, source: "free" };
  return { ...row, model: model.id, price: row.listPrice, source: "list" };
}

function presentPrice({ model, row, tier, unit, price, listPrice, source }: Priced): JsonObject {
  return {
    model,
    row,
    tier,
    unit,
    source,
    ...(price === null ? {} : { price: toUsd(price) }),
    ...(listPrice === null ? {} : { list_price: toUsd(listPrice) }),
  };
}

async function setOne({ db, catalogue, clock }: Installation, input: CommandInput) {
  const model = catalogue.load(input.word(0) ?? "");
  const row = loadRow(model, input.word(1) ?? "");
  const price = parseUsdOf("USD", input.word(2) ?? "", { min: 0 });
  await db.transaction((tx) =>
    setPrice(tx, { model: model.id, row: row.row, price, now: clock.now() }),
  );
  await db.durable();
  return {
    text: `${model.id} ${row.row} costs ${formatUsd(price)} USD a ${row.unit}`,
    json: { model: model.id, row: row.row, unit: row.unit, price: toUsd(price) },
  };
}

async function makeFree({ db, catalogue, clock }: Installation, input: CommandInput) {
  const model = catalogue.load(input.word(0) ?? "");
  await db.transaction((tx) => setFree(tx, model.id, clock.now()));
  await db.durable();
  return { text: `${model.id} is free`, json: { model: model.id, free: true } };
}

async function unset({ db, catalogue }: Installation, input: CommandInput) {
  const model = catalogue.load(input.word(0) ?? "");
  const word = input.word(1);
  const row = word === null ? undefined : loadRow(model, word).row;
  const dropped = await db.transaction((tx) => unsetPrice(tx, model.id, row));
  await db.durable();
  const what = row === undefined ? model.id : `${model.id} ${row}`;
  return {
    text:
      dropped === 0 ? `${what} had the list price already` : `${what} is back at the list price`,
    json: { model: model.id, ...(row === undefined ? {} : { row }), dropped },
  };
}

function loadRow(model: Model, name: string): PriceRow {
  const rows = priceRows(model);
  const row = rows.find((candidate) => candidate.row === name);
  if (row !== undefined) return row;
  throw new AppError(
    "invalid_parameter",
    `row "${name}" is not a price of ${model.id}; use one of ${rows.map((one) => one.row).join(", ")}`,
  );
}

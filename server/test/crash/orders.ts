/** What the callers of a crash run ask for, and what they were promised for it. */
import type { TaskErrorCode } from "../../../client/src/tasks.ts";
import { colours, dataUri, paintMask, paintPlain } from "../support/pictures.ts";
import type { Rgb } from "../support/pictures.ts";
import type { ReferenceServer } from "../support/reference-server.ts";
import { systemClock } from "../../src/lib/time.ts";
import type { Dice } from "./dice.ts";

/** How a task must end when nobody cancels it. */
export type Promised =
  | {
      status: "completed";
      pictures: number;
      /** Pictures that were asked for and, by the prompt's words, end as `no_image`. */
      missing: number;
      width: number;
      height: number;
      format: string;
    }
  | { status: "failed"; code: TaskErrorCode };

/** Colours of references, any one of which every picture must show. */
export type Insets = readonly Rgb[];

export type Wish = {
  kind: string;
  body: { [name: string]: unknown; prompt: string };
  promised: Promised;
  insets: Insets;
};

/** One submit of one caller, and everything that it has been told about it. */
export type Order = Wish & {
  /** In the prompt, and in no other: by it the order's tasks are found in the database. */
  mark: string;
  /** Idempotency-Key, or null for a caller that sends none. */
  key: string | null;
  /** As acknowledged; null while no reply has arrived. */
  taskId: string | null;
  /** Acknowledgements that were not marked as those of a repeat. */
  originals: number;
  /** Sends that had no reply: the task of an order without a key may exist all the same. */
  lost: number;
  /** Cancels that were sent, whatever became of them. */
  cancels: number;
  /** The first body of a poll that showed the task ended, as text. */
  ended: string | null;
  /** Of the latest poll: a task never goes back. */
  rank: number;
  progress: number;
};

export type Menu = { wish(dice: Dice, mark: string): Wish };

const small = { model: "gemini-3.1-flash-image-preview", resolution: "0.5K", size: "1:1" };
const smallPixels = { width: 512, height: 512, format: "jpeg" };
const wide = { ...small, size: "8:1" };
const widePixels = { width: 1536, height: 192, format: "jpeg" };
const editSide = 200;
/** A server that takes its time: a kill often falls into the fetch. */
const slowReferenceMs = 250;

type Recipe = (dice: Dice, prompt: string) => Omit<Wish, "kind">;

/** Prepares the pictures that wishes refer to; `server` serves those that are fetched. */
export async function createMenu(server: ReferenceServer): Promise<Menu> {
  const [green, cyan, magenta, base] = await Promise.all(
    [colours.green, colours.cyan, colours.magenta, colours.blue].map((colour) =>
      paintPlain({ colour, width: editSide, height: editSide, format: "png" }),
    ),
  );
  const mask = await paintMask(editSide, editSide, { left: 50, top: 50, width: 90, height: 90 });
  const fast = server.serve("/cyan.png", cyan!, "image/png");
  const slow = server.answer("/magenta.png", (_request, reply) => {
    void systemClock.sleep(slowReferenceMs).then(() => reply.end(magenta));
  });
  let asked = 0;
  // Never the same picture twice in a row: pictures of one task that differ would show a second fetch.
  const changing = server.answer("/changing.png", (_request, reply) => {
    asked += 1;
    reply.end(asked % 2 === 0 ? green : magenta);
  });
  const recipes = listRecipes({
    data: dataUri(green!),
    base: dataUri(base!),
    mask: dataUri(mask),
    fast,
    slow,
    changing,
  });
  const crowd = recipes.flatMap(({ weight, ...recipe }) =>
    Array<typeof recipe>(weight).fill(recipe),
  );
  return {
    wish: (dice, mark) => {
      const { kind, make } = dice.pick(crowd);
      return { kind, ...make(dice, `${mark} a lighthouse at dusk`) };
    },
  };
}

type Sources = Record<"data" | "base" | "mask" | "fast" | "slow" | "changing", string>;

function listRecipes(from: Sources): { kind: string; weight: number; make: Recipe }[] {
  return [
    { kind: "plain", weight: 6, make: (_, prompt) => completed({ ...wide, prompt }, widePixels) },
    {
      kind: "four",
      weight: 3,
      make: (_, prompt) => completed({ ...wide, prompt, n: 4 }, widePixels, { pictures: 4 }),
    },
    {
      kind: "slow",
      weight: 3,
      make: (dice, prompt) => {
        const seconds = dice.pick(["0.5", "2", "4"]);
        return completed({ ...wide, prompt: `${prompt} [[slow:${seconds}s]]` }, widePixels);
      },
    },
    {
      kind: "partial",
      weight: 2,
      make: (_, prompt) =>
        completed({ ...wide, prompt: `${prompt} [[partial:2]]`, n: 4 }, widePixels, {
          pictures: 2,
          missing: 2,
        }),
    },
    {
      kind: "failing",
      weight: 2,
      make: (_, prompt) => ({
        body: { ...wide, prompt: `${prompt} [[fail:no_image]] [[slow:0.2s]]`, n: 2 },
        promised: { status: "failed", code: "no_image" },
        insets: [],
      }),
    },
    {
      kind: "tokens",
      weight: 1,
      make: (_, prompt) =>
        completed(
          { model: "gemini-3.1-flash-lite-image", size: "1:1", prompt },
          { width: 1024, height: 1024, format: "jpeg" },
        ),
    },
    {
      kind: "data",
      weight: 3,
      make: (_, prompt) =>
        completed({ ...small, prompt, image_urls: [from.data] }, smallPixels, {
          insets: [colours.green],
        }),
    },
    {
      kind: "masked",
      weight: 1,
      make: (_, prompt) =>
        completed(
          {
            model: "gemini-2.5-flash-image-preview",
            prompt,
            image_urls: [from.base],
            mask_url: from.mask,
          },
          { width: editSide, height: editSide, format: "png" },
          // What the mask leaves alone.
          { insets: [colours.blue] },
        ),
    },
    ...listFetched(from),
  ];
}

function listFetched(from: Sources): { kind: string; weight: number; make: Recipe }[] {
  const fetched = (prompt: string, url: string, told: Told): Omit<Wish, "kind"> => {
    const n = told.pictures ?? 1;
    return completed({ ...small, prompt, n, image_urls: [url] }, smallPixels, told);
  };
  return [
    {
      kind: "url",
      weight: 2,
      make: (_, prompt) => fetched(prompt, from.fast, { insets: [colours.cyan] }),
    },
    {
      kind: "slow url",
      weight: 2,
      make: (_, prompt) => fetched(prompt, from.slow, { insets: [colours.magenta] }),
    },
    {
      kind: "changing url",
      weight: 2,
      make: (_, prompt) =>
        fetched(prompt, from.changing, { pictures: 2, insets: [colours.green, colours.magenta] }),
    },
  ];
}

type Told = { pictures?: number; missing?: number; insets?: Insets };

function completed(
  body: Wish["body"],
  picture: { width: number; height: number; format: string },
  { pictures = 1, missing = 0, insets = [] }: Told = {},
): Omit<Wish, "kind"> {
  return { body, promised: { status: "completed", pictures, missing, ...picture }, insets };
}

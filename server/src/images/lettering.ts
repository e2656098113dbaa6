/**
 * Text as masks: set by Pango inside sharp, with the fonts of `fonts.ts`. Any text is safe to pass:
 * markup is escaped, and what cannot be shown is left out.
 */
import sharp from "sharp";

import type { Mask } from "./canvas.ts";
import { fontFamilies } from "./fonts.ts";

export type Lettering = {
  text: string;
  /** Font size in pixels. */
  size: number;
  /** Lines are broken at this many pixels, inside a word where it must be. */
  width: number;
  bold?: boolean;
  /** Space added between letters, in pixels. */
  spacing?: number;
};

export type Fit = { width: number; heightMax: number; sizes: readonly number[] };

/** Longest text that is ever set; a prompt may have 32,000 characters, a picture has room for few. */
const charactersMax = 900;
const cutsMax = 24;

/** Readable words of any text: one line, without control, formatting and unpaired surrogate characters. */
export function tidyText(text: string): string {
  return text
    .slice(0, charactersMax * 8)
    .toWellFormed()
    .replaceAll(/[\p{Cf}\p{Cs}\p{Co}\p{Cn}\u{FE0F}\uFFFC\uFFFD]/gu, "")
    .replaceAll(missingEmoji, "")
    .replaceAll(/[\p{Cc}\p{Zl}\p{Zp}\p{Zs}]+/gu, " ")
    .trim();
}

/** The fonts have faces, but no other emoji above the basic plane; a box with digits says nothing. */
const missingEmoji =
  /(?=[\u{10000}-\u{1F5FF}\u{1F624}\u{1F62C}\u{1F641}-\u{10FFFF}])[\p{Extended_Pictographic}\p{Regional_Indicator}\p{Emoji_Modifier}]/gu;

/** Sets a text; an empty one gives an empty mask. */
export async function renderText(lettering: Lettering): Promise<Mask> {
  if (lettering.text === "" || lettering.width < 1) return emptyMask();
  const weight = lettering.bold === true ? "Bold " : "";
  const { data, info } = await sharp({
    text: {
      text: markup(lettering),
      font: `${fontFamilies} ${weight}${Math.max(1, Math.round(lettering.size))}px`,
      width: Math.floor(lettering.width),
      wrap: "word-char",
      dpi: 72,
    },
  })
    .toColourspace("b-w")
    .extractChannel(0)
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, coverage: data };
}

/**
 * Sets a text at the largest of the sizes (given from large to small) at which it fits; where it does
 * not fit at the smallest, it is cut and ends in an ellipsis.
 */
export async function fitText(text: string, fit: Fit): Promise<Mask> {
  const letters = splitLetters(text);
  const whole = letters.join("");
  for (const size of fit.sizes) {
    if (!mayFit(letters, size, fit)) continue;
    const mask = await renderText({ text: whole, size, width: fit.width });
    if (letters.length < charactersMax && mask.height <= fit.heightMax) return mask;
  }
  return cutText(letters, fit.sizes.at(-1) ?? 1, fit);
}

/** Halves the part of the text that may fit until it is known to the letter. */
async function cutText(letters: readonly string[], size: number, fit: Fit): Promise<Mask> {
  let best = emptyMask();
  let least = 0;
  let most = letters.length;
  for (let cut = 0; cut < cutsMax && least < most; cut++) {
    const middle = Math.ceil((least + most) / 2);
    const text = `${letters.slice(0, middle).join("").trimEnd()}…`;
    const mask = await renderText({ text, size, width: fit.width });
    if (mask.height <= fit.heightMax) {
      best = mask;
      least = middle;
    } else {
      most = middle - 1;
    }
  }
  return best;
}

/** Letters as people see them, so that a cut never splits one; piles of accents are lowered to four. */
function splitLetters(text: string): string[] {
  const letters: string[] = [];
  for (const { segment } of new Intl.Segmenter("und").segment(text)) {
    if (letters.length === charactersMax) break;
    letters.push(
      Array.from(segment)
        .slice(0, accentsMax + 1)
        .join(""),
    );
  }
  return letters;
}

const accentsMax = 4;

/** False when the text is certainly too long for this size, to save setting it. */
function mayFit(letters: readonly string[], size: number, fit: Fit): boolean {
  const lines = Math.max(1, fit.heightMax / (size * 1.1));
  return letters.length * size * narrowestShare <= lines * fit.width;
}

/** Width of the narrowest common text relative to the font size; ordinary Latin text has about 0.55. */
const narrowestShare = 0.3;

function markup(lettering: Lettering): string {
  const text = lettering.text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;");
  const attributes = ['line_height="1.08"', 'insert_hyphens="false"'];
  // Pango counts letter spacing in 1,024ths of a point, and a point is a pixel at 72 dpi.
  if (lettering.spacing !== undefined)
    attributes.push(`letter_spacing="${Math.round(lettering.spacing * 1_024)}"`);
  return `<span ${attributes.join(" ")}>${text}</span>`;
}

function emptyMask(): Mask {
  return { width: 0, height: 0, coverage: new Uint8Array(0) };
}

import type { Clock } from "./time.ts";
import type { Random } from "./random.ts";

/** Prefix of each kind of id, as callers and operators see them. */
export const idPrefixes = {
  task: "task_",
  attempt: "att_",
  account: "acc_",
  key: "key_",
  request: "req_",
  upload: "upl_",
  worker: "wrk_",
  node: "nod_",
  endpoint: "whe_",
  event: "evt_",
  delivery: "dlv_",
} as const;

export type IdKind = keyof typeof idPrefixes;

/** Makes ids `<prefix><ULID>`: 26 Crockford characters, sortable by the millisecond they were made. */
export type Ids = (kind: IdKind) => string;

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const timeLength = 10;
const tailsDrawn = 64;

/** Ids of one process sort in the order they were made, also within a millisecond (ULID monotonic rule). */
export function createIds(clock: Clock, random: Random): Ids {
  const tails = createTails(random);
  let lastMs = 0;
  let digits = new Uint8Array(16);
  /** All but the last digit, which alone changes from one id to the next nearly always. */
  let head = "";
  return (kind) => {
    const ms = Math.max(clock.now(), lastMs);
    const isSameMs = ms === lastMs && head !== "";
    if (!isSameMs) digits = tails();
    if (!isSameMs || increment(digits))
      head = encodeTime(ms) + encodeDigits(digits.subarray(0, -1));
    lastMs = ms;
    return idPrefixes[kind] + head + alphabet.charAt(digits[digits.length - 1] ?? 0);
  };
}

/** True for a string that could be an id of this kind; says nothing about whether it exists. */
export function isId(kind: IdKind, value: string): boolean {
  const prefix = idPrefixes[kind];
  return value.startsWith(prefix) && /^[0-9A-HJKMNP-TV-Z]{26}$/.test(value.slice(prefix.length));
}

/** No id of this kind that was made at `ms` (unix milliseconds) or later sorts before this text. */
export function lowestId(kind: IdKind, ms: number): string {
  return `${idPrefixes[kind]}${encodeTime(ms)}${"0".repeat(16)}`;
}

/** When an id of this kind was made, in unix milliseconds. */
export function timeOfId(kind: IdKind, id: string): number {
  const start = idPrefixes[kind].length;
  let ms = 0;
  for (let i = start; i < start + timeLength; i++) ms = ms * 32 + alphabet.indexOf(id.charAt(i));
  return ms;
}

/** Random starts of a millisecond, drawn many at a time: a request id is made for every poll. */
function createTails(random: Random): () => Uint8Array<ArrayBuffer> {
  let block = new Uint8Array(0);
  let used = 0;
  return () => {
    if (used === block.length) {
      block = Uint8Array.from(random.bytes(16 * tailsDrawn), (byte) => byte & 31);
      used = 0;
    }
    const digits = block.slice(used, used + 16);
    used += 16;
    // Half the space stays free above the start, so that counting up within a millisecond cannot overflow.
    digits[0] = (digits[0] ?? 0) & 15;
    return digits;
  };
}

/** True when more than the last digit has changed. */
function increment(digits: Uint8Array): boolean {
  const last = digits.length - 1;
  for (let i = last; i >= 0; i--) {
    const next = (digits[i] ?? 0) + 1;
    if (next < 32) {
      digits[i] = next;
      return i < last;
    }
    digits[i] = 0;
  }
  return true;
}

function encodeTime(ms: number): string {
  let rest = ms;
  let text = "";
  for (let i = 0; i < timeLength; i++) {
    text = alphabet.charAt(rest % 32) + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

function encodeDigits(digits: Uint8Array): string {
  let text = "";
  for (const digit of digits) text += alphabet.charAt(digit);
  return text;
}

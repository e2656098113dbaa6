/** Servers of callers: one whose pictures are used as references, and one that is told of ended tasks. */
import { minuteMs } from "../../src/lib/time.ts";
import type { Dice } from "../crash/dice.ts";
import { picture } from "../support/vendor.ts";
import type { Answer, Server, Weather } from "./network.ts";

type ServerDeps = { dice: Dice; weather: Weather };

export const referenceHost = "pictures.example";
export const receiverHosts = ["caller.example", "other.example"] as const;

/** What the paths of references begin with. */
export const referenceKinds = [
  "fine",
  "fine",
  "changing",
  "changing",
  "flaky",
  "slow",
  "missing",
  "broken",
] as const;

/** Shades that `picture` can draw. */
const shades = 6;

/** Serves `/KIND/NUMBER`. A picture that changes is never the same twice in a row. */
export function createReferenceServer({ dice, weather }: ServerDeps): Server {
  let asked = 0;
  const serve = (shade: number, answer: Partial<Answer> = {}): Answer => {
    const drawn = picture(shade % shades);
    const body = drawn.kind === "bytes" ? drawn.bytes : new Uint8Array();
    return { status: 200, body, afterMs: dice.between(1, 400), ...answer };
  };
  return ({ pathname }) => {
    const [, kind, number] = pathname.split("/");
    asked += 1;
    if (kind === "changing") return serve(asked);
    if (kind === "missing") return { status: 404, afterMs: 50 };
    if (kind === "broken") return serve(0, { body: Buffer.from("this is not any picture") });
    if (kind === "slow") return serve(Number(number), { afterMs: dice.between(4_000, 16_000) });
    if (kind !== "flaky" || weather.isCalm || dice.isLucky(0.6)) return serve(Number(number));
    return dice.isLucky(0.3)
      ? "unreachable"
      : serve(Number(number), { fault: dice.pick(["lost", "cut"]) });
  };
}

/** One request that a receiver has read, whatever it answered. */
export type Told = { eventId: string; body: string };

export type SimulatedReceiver = { server: Server; readonly told: Told[] };

/** Few, so that the next try is at most half a minute away. */
const failuresMax = 2;

/** Takes in what it is sent, but for what does not reach it; says so at the third try at the latest. */
export function createReceiver({ dice, weather }: ServerDeps): SimulatedReceiver {
  const told: Told[] = [];
  /** By event: failures still to come. */
  const failures = new Map<string, number>();

  function misbehave(): Answer | "unreachable" {
    const trouble = dice.pick(["unreachable", "refuses", "lost", "silent"]);
    if (trouble === "unreachable") return trouble;
    if (trouble === "refuses") return { status: dice.pick([500, 503, 302]), afterMs: 50 };
    return { status: 204, afterMs: trouble === "silent" ? minuteMs : 50, fault: "lost" };
  }

  return {
    told,
    server: (_url, { headers = {}, body }) => {
      const eventId = headers["webhook-id"] ?? "";
      const left = failures.get(eventId) ?? (dice.isLucky(0.4) ? dice.between(1, failuresMax) : 0);
      const isFailing = left > 0 && !weather.isCalm;
      failures.set(eventId, Math.max(0, left - 1));
      const answer = isFailing ? misbehave() : { status: 204, afterMs: dice.between(1, 500) };
      if (answer !== "unreachable") told.push({ eventId, body: String(body) });
      return answer;
    },
  };
}

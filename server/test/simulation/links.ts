/** Links of a vendor to its pictures: signed for a while, and served by a host that fails at times. */
import { minuteMs } from "../../src/lib/time.ts";
import type { Clock } from "../../src/lib/time.ts";
import type { Picture } from "../../src/providers/adapter.ts";
import type { Dice } from "../crash/dice.ts";
import type { Answer, Server, Weather } from "./network.ts";

export type Links = {
  /** A picture's link, made anew when the last one has expired; what is no picture stays as it is. */
  linkTo(picture: Picture, path: string): Picture;
  server: Server;
};

export type LinksDeps = {
  name: string;
  clock: Clock;
  dice: Dice;
  weather: Weather;
  /** False for links that work for as long as anybody asks. */
  expire: boolean;
  note(event: string): void;
};

type Link = {
  bytes: Uint8Array;
  version: number;
  /** On the monotonic clock. */
  expiresAtMs: number;
  /** Requests that will still go wrong. */
  failures: number;
};

const usualTtlMs = 10 * minuteMs;
/** Less than what a picture that is paid for is worth waiting for, each as slow as they come. */
const failuresMax = 3;

export function resultHostOf(name: string): string {
  return `results.${name}.example`;
}

export function createLinks(deps: LinksDeps): Links {
  const { name, clock, dice, weather, expire, note } = deps;
  const links = new Map<string, Link>();

  function renew(bytes: Uint8Array, path: string): Link {
    const known = links.get(path);
    if (known !== undefined && clock.monotonic() < known.expiresAtMs) return known;
    // A link that was asked for because the last one had expired is a good one.
    const isShort = known === undefined && expire && dice.isLucky(0.25);
    const ttlMs = isShort ? dice.between(0, 3_000) : usualTtlMs;
    const link: Link = {
      bytes,
      version: (known?.version ?? 0) + 1,
      expiresAtMs: expire ? clock.monotonic() + ttlMs : Number.POSITIVE_INFINITY,
      failures: known?.failures ?? (dice.isLucky(0.4) ? dice.between(1, failuresMax) : 0),
    };
    links.set(path, link);
    return link;
  }

  function misbehave(link: Link): Answer | "unreachable" {
    link.failures -= 1;
    const body = link.bytes;
    switch (dice.pick(["unreachable", "busy", "lost", "cut", "silent", "stalls"] as const)) {
      case "unreachable":
        return "unreachable";
      case "busy":
        return { status: dice.pick([500, 503, 429]), afterMs: 100 };
      case "lost":
        return { status: 200, body, afterMs: 100, fault: "lost" };
      case "cut":
        return { status: 200, body, afterMs: 100, fault: "cut" };
      case "silent":
        return { status: 200, body, afterMs: minuteMs };
      case "stalls":
        return { status: 200, body, afterMs: 100, gapMs: minuteMs };
    }
  }

  function serve({ pathname, searchParams }: URL): Answer | "unreachable" {
    const link = links.get(pathname.slice(1));
    const isKnown = link !== undefined && searchParams.get("version") === String(link.version);
    if (!isKnown || clock.monotonic() >= link.expiresAtMs) {
      return { status: dice.pick([403, 404, 410]), afterMs: 100 };
    }
    if (link.failures > 0 && !weather.isCalm) return misbehave(link);
    return { status: 200, body: link.bytes, afterMs: dice.between(1, 2_000), gapMs: 5 };
  }

  return {
    linkTo: (picture, path) => {
      if (picture.kind !== "bytes") return picture;
      const { version } = renew(picture.bytes, path);
      return { kind: "url", url: `https://${resultHostOf(name)}/${path}?version=${version}` };
    },
    server: (url) => {
      const answer = serve(url);
      const said = answer === "unreachable" ? answer : `${answer.status} ${answer.fault ?? ""}`;
      note(`${name} is asked for ${url.pathname}${url.search}: ${said}`);
      return answer;
    },
  };
}

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { UsageError } from "./command.ts";
import { parseExpiry } from "./expiry.ts";

const now = Date.UTC(2026, 10, 21, 12);
const tenYears = 10 * 365 * 86_400;

describe("an expiry is seconds from now up to ten years, or a date of the calendar to come:", () => {
  const taken: [text: string, at: number][] = [
    ["1", now + 1_000],
    ["3600", now + 3_600_000],
    [String(tenYears), now + tenYears * 1_000],
    ["20001301", now + 20_001_301_000],
    ["2027-01-31", Date.UTC(2027, 0, 31)],
    ["2028-02-29", Date.UTC(2028, 1, 29)],
    ["2100-01-31", Date.UTC(2100, 0, 31)],
    ["2027-01-31T09:30Z", Date.UTC(2027, 0, 31, 9, 30)],
    ["2027-01-31T09:30:15.250z", Date.UTC(2027, 0, 31, 9, 30, 15, 250)],
    ["2027-01-31T09:30:15+02:00", Date.UTC(2027, 0, 31, 7, 30, 15)],
  ];
  for (const [text, at] of taken) {
    test(text, () => assert.equal(parseExpiry(text, now), at));
  }
});

describe("what could be read in two ways is refused by its option, with what is allowed:", () => {
  const refused: [text: string, problem: RegExp][] = [
    ["1830384000", /more than ten years.*for that unix time write 2028-01-02T00:00:00Z/],
    ["1830384000000", /for that unix time write 2028-01-02T00:00:00Z/],
    [String(tenYears + 1), /more than ten years/],
    ["9".repeat(30), /more than ten years/],
    ["20270101", /write 2027-01-01 for the date/],
    ["0", /in the past/],
    ["2026-11-21", /in the past/],
    ["2026-11-21T13:00:00+02:00", /in the past/],
    ["2027-02-31", /not a day of the calendar/],
    ["2027-02-29", /not a day of the calendar/],
    ["2027-13-01", /not a day of the calendar/],
    ["2027-01-01T10:00", /does not say its zone/],
    ["2027-01-01T10:00+2", /does not say its zone/],
    ["2027-01-01T25:00Z", /not a time of the day/],
    ["2027-01-01 10:00", /neither a date nor/],
    ["2027-01-01junk", /neither a date nor/],
    ["2027-1-1", /neither a date nor/],
    ["1e3", /neither a date nor/],
    ["-5", /neither a date nor/],
    ["soon", /neither a date nor/],
    ["", /neither a date nor/],
  ];
  for (const [text, problem] of refused) {
    test(text === "" ? "nothing" : text.slice(0, 40), () => {
      assert.throws(
        () => parseExpiry(text, now),
        (error) => {
          assert.ok(error instanceof UsageError);
          assert.match(error.message, problem);
          assert.ok(error.message.startsWith(`--expires ${JSON.stringify(text)} `), error.message);
          assert.match(error.message, /seconds from now \(1 to 315360000\).*2027-01-31T09:00:00Z$/);
          return true;
        },
      );
    });
  }
});

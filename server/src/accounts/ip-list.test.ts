import assert from "node:assert/strict";
import { test } from "node:test";

import { AppError } from "../lib/errors.ts";
import { isOnIpList, parseIpList } from "./ip-list.ts";

const cases: { list: string[]; on: string[]; off: string[] }[] = [
  {
    list: ["203.0.113.7"],
    on: ["203.0.113.7", "::ffff:203.0.113.7", "::ffff:cb00:7107"],
    off: ["203.0.113.8", "::203.0.113.7", "2001:db8::1"],
  },
  {
    list: ["10.0.0.0/8", "192.168.1.128/25"],
    on: ["10.255.1.2", "192.168.1.128", "192.168.1.255"],
    off: ["11.0.0.0", "192.168.1.127"],
  },
  { list: ["0.0.0.0/0"], on: ["1.2.3.4", "::ffff:1.2.3.4"], off: ["2001:db8::1"] },
  {
    list: ["2001:db8::/32", "fe80::1"],
    on: ["2001:db8:ffff::1", "2001:DB8::1", "fe80::1%eth0"],
    off: ["2001:db9::1", "fe80::2", "1.2.3.4"],
  },
  { list: ["::ffff:10.0.0.0/104"], on: ["10.1.2.3", "::ffff:10.1.2.3"], off: ["11.1.2.3"] },
  { list: ["::ffff:10.0.0.1"], on: ["10.0.0.1"], off: ["10.0.0.2"] },
];

for (const { list, on, off } of cases) {
  test(`the list ${list.join(", ")} holds its addresses in every spelling and no others`, () => {
    const parsed = parseIpList(list);
    for (const ip of on) assert.equal(isOnIpList(parsed, ip), true, ip);
    for (const ip of off) assert.equal(isOnIpList(parsed, ip), false, ip);
  });
}

test("an address nobody can read is on no list", () => {
  const everything = parseIpList(["0.0.0.0/0", "::/0"]);
  for (const ip of ["", "unknown", "010.0.0.1", "10.1", "1.2.3.4:80", "0x0a000001"]) {
    assert.equal(isOnIpList(everything, ip), false, ip);
  }
});

test("a list entry that is neither address nor range is refused by name", () => {
  for (const text of [
    "",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/",
    "10.0.0.0/8/8",
    "10.0.0.0/8.5",
    "010.0.0.1",
    "10.1/16",
    "example.com",
    "2001:db8::/129",
    "::ffff:10.0.0.0/95",
  ]) {
    assert.throws(
      () => parseIpList([text]),
      (error) =>
        error instanceof AppError &&
        error.reason === "invalid_parameter" &&
        error.param === "ips" &&
        error.message.includes(JSON.stringify(text)),
      text,
    );
  }
});

test("a list is neither empty nor longer than a hundred entries", () => {
  const entries = Array.from({ length: 101 }, (_, i) => `10.0.0.${i}`);
  assert.equal(parseIpList(entries.slice(1)).length, 100);
  assert.throws(() => parseIpList(entries), /allowed are 1 to 100/);
  assert.throws(() => parseIpList([]), /allowed are 1 to 100/);
});

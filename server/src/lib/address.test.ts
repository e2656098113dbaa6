import assert from "node:assert/strict";
import { isIPv4 } from "node:net";
import { test } from "node:test";
import * as fc from "fast-check";
import { createAddressPolicy, parseCidrs } from "./address.ts";

const nobody = createAddressPolicy([]);

const publicAddresses = [
  "1.1.1.1",
  "8.8.8.8",
  "100.63.255.255",
  "100.128.0.0",
  "126.255.255.255",
  "128.0.0.1",
  "172.15.255.255",
  "172.32.0.0",
  "169.253.255.255",
  "223.255.255.255",
  "2606:4700:4700::1111",
  "2a00:1450:4001::200e",
  "::ffff:8.8.8.8",
];

const forbiddenAddresses = [
  "0.0.0.0",
  "0.1.2.3",
  "10.0.0.1",
  "100.64.0.1",
  "127.0.0.1",
  "127.255.255.254",
  "168.63.129.16",
  "::ffff:168.63.129.16",
  "169.254.169.254",
  "169.254.170.2",
  "172.16.0.1",
  "172.31.255.255",
  "192.0.0.192",
  "192.0.2.1",
  "192.168.1.1",
  "198.18.0.1",
  "198.51.100.1",
  "203.0.113.1",
  "224.0.0.1",
  "240.0.0.1",
  "255.255.255.255",
  "::",
  "::1",
  "::7f00:1",
  "::ffff:127.0.0.1",
  "::ffff:0:127.0.0.1",
  "64:ff9b::7f00:1",
  "64:ff9b:1::7f00:1",
  "100::1",
  "100:0:0:1::1",
  "200::1",
  "2001::1",
  "2001:2::1",
  "2001:10::1",
  "2001:20::1",
  "2001:db8::1",
  "2002:7f00:1::",
  "3fff::1",
  "4000::1",
  "5f00::1",
  "8000::1",
  "fc00::1",
  "fd00:ec2::254",
  "fe80::1",
  "fe80::1%eth0",
  "fec0::1",
  "ff02::1",
];

/** Spellings that only some readers understand; a judgement about them would be about something else. */
const notCanonical = ["0177.0.0.1", "0x7f.0.0.1", "2130706433", "127.1", "8.8.8.8 ", "[::1]", ""];

test("only addresses of the public internet are public, and no other spelling of them counts", () => {
  for (const address of publicAddresses) assert.equal(nobody.judge(address), "public", address);
  for (const address of [...forbiddenAddresses, ...notCanonical]) {
    assert.equal(nobody.judge(address), "forbidden", address);
  }
});

function isBlocked(address: string, list = nobody.publicBlockList): boolean {
  return list.check(address, isIPv4(address) ? "ipv4" : "ipv6");
}

test("the block list given to the socket blocks exactly the forbidden addresses", () => {
  for (const address of publicAddresses) assert.equal(isBlocked(address), false, address);
  for (const address of forbiddenAddresses.filter((each) => !each.includes("%"))) {
    assert.equal(isBlocked(address), true, address);
  }
});

const byte = fc.integer({ min: 0, max: 255 });
const anyIpv4 = fc.tuple(byte, byte, byte, byte).map((bytes) => bytes.join("."));
const group = fc.integer({ min: 0, max: 0xffff });
/** Half of the time in the block that is in use, where the exceptions are. */
const anyIpv6 = fc
  .tuple(
    fc.oneof(group, fc.constantFrom(0x2001, 0x2002, 0x2620, 0x3fff, 0x2606)),
    fc.array(group, { minLength: 7, maxLength: 7 }),
  )
  .map(([first, rest]) => [first, ...rest].map((value) => value.toString(16)).join(":"));

test("the two judgements agree on every address", () => {
  fc.assert(
    fc.property(fc.oneof(anyIpv4, anyIpv6), (address) => {
      assert.equal(nobody.judge(address) === "forbidden", isBlocked(address), address);
    }),
    { numRuns: 20_000 },
  );
});

const privateIpv4 = fc.oneof(
  fc.tuple(fc.constant(10), byte, byte, byte),
  fc.tuple(fc.constant(127), byte, byte, byte),
  fc.tuple(fc.constant(192), fc.constant(168), byte, byte),
  fc.tuple(fc.constant(169), fc.constant(254), byte, byte),
  fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), byte, byte),
  fc.tuple(fc.constant(100), fc.integer({ min: 64, max: 127 }), byte, byte),
);

test("a private IPv4 address stays forbidden inside every IPv6 form that can carry it", () => {
  fc.assert(
    fc.property(privateIpv4, ([a, b, c, d]) => {
      const dotted = [a, b, c, d].join(".");
      const high = ((a << 8) | b).toString(16);
      const low = ((c << 8) | d).toString(16);
      const flipped = `${(((a << 8) | b) ^ 0xffff).toString(16)}:${(((c << 8) | d) ^ 0xffff).toString(16)}`;
      const embeddings = [
        dotted,
        `::${dotted}`,
        `::ffff:${dotted}`,
        `::ffff:${high}:${low}`,
        `::ffff:0:${high}:${low}`,
        `64:ff9b::${high}:${low}`,
        `64:ff9b:1::${high}:${low}`,
        `2002:${high}:${low}::1`,
        `2001:0:4136:e378:8000:63bf:${flipped}`,
        `fe80::5efe:${high}:${low}`,
      ];
      for (const address of embeddings) assert.equal(nobody.judge(address), "forbidden", address);
    }),
    { numRuns: 5_000 },
  );
});

test("a range the operator names is trusted and leaves its neighbours forbidden", () => {
  const policy = createAddressPolicy(["127.0.0.0/8", "10.1.2.3", "fd00:1::/32", "10.5.0.77/16"]);
  const trusted = ["127.0.0.1", "::ffff:127.9.9.9", "10.1.2.3", "fd00:1:2::3", "10.5.255.255"];
  for (const address of trusted) {
    assert.equal(policy.judge(address), "trusted", address);
    assert.equal(isBlocked(address, policy.publicBlockList), false, address);
    assert.equal(isBlocked(address, policy.trustedBlockList), false, address);
  }
  for (const address of ["126.0.0.1", "8.8.8.8", "2606:4700::1"]) {
    assert.equal(policy.judge(address), "public", address);
    assert.equal(isBlocked(address, policy.trustedBlockList), true);
  }
  for (const address of ["10.1.2.2", "10.1.2.4", "10.4.255.255", "10.6.0.0", "fd00:2::1", "::1"]) {
    assert.equal(policy.judge(address), "forbidden", address);
    assert.equal(isBlocked(address, policy.publicBlockList), true, address);
  }
});

test("a list of ranges is read whole, and the first bad entry is named", () => {
  assert.deepEqual(parseCidrs(" 10.0.0.0/8, fd00::/8\n127.0.0.1 "), [
    "10.0.0.0/8",
    "fd00::/8",
    "127.0.0.1",
  ]);
  assert.deepEqual(parseCidrs(""), []);
  const bad = [
    "10.0.0.0/33",
    "10.0.0/8",
    "10.0.0.0/-1",
    "10.0.0.0/",
    "::/129",
    "host.example/8",
    "10.0.0.0/8/8",
    "::ffff:10.0.0.0/104",
    "fe80::1%eth0/64",
    "0x7f.0.0.1/8",
  ];
  for (const entry of bad) {
    assert.throws(
      () => parseCidrs(`127.0.0.1,${entry}`),
      (error: Error) => error.message.startsWith(`"${entry}" is not`),
    );
  }
});

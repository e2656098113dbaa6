import assert from "node:assert/strict";
import { test } from "node:test";
import { createAddressPolicy } from "./address.ts";
import { EgressError } from "./egress-error.ts";
import { checkDestination, isListedHost, isSecure, parseDestination } from "./egress-url.ts";

const nobody = createAddressPolicy([]);

/** Hostile spellings by what must be found wrong with them. */
const hostile: Record<string, RegExp> = {};
function spell(problem: RegExp, urls: string[]): void {
  for (const url of urls) hostile[url] = problem;
}

spell(/not on the public internet/, [
  "http://127.0.0.1/",
  "http://127.0.0.1./",
  "http://127.1/",
  "http://127.0.1/",
  "http://2130706433/",
  "http://017700000001/",
  "http://0177.0.0.1/",
  "http://0177.0.0.01/",
  "http://0x7f000001/",
  "http://0x7f.0x0.0x0.0x1/",
  "http://0x7f.1/",
  "http://0X7F.0.0.1/",
  "http://0/",
  "http://0.0.0.0/",
  "http:127.0.0.1/",
  "http:/127.0.0.1/",
  "http:\\\\127.0.0.1\\",
  "http:///127.0.0.1/",
  " http://127.0.0.1/ ",
  "ht\ntp://127.0\t.0.1/",
  "HTTP://127.0.0.1/",
  "http://@127.0.0.1/",
  "http://127.0.0.1\\@example.com/",
  "http://127.0.0.1#@example.com/",
  "http://127.0.0.1?@example.com/",
  "http://%31%32%37.0.0.1/",
  "http://１２７.０.０.１/",
  "http://①②⑦.⓪.⓪.①/",
  "http://127。0。0。1/",
  "http://127．0．0．1/",
  "http://𝟏𝟐𝟕.𝟎.𝟎.𝟏/",
  "http://10.0.0.1/",
  "http://172.16.0.1/",
  "http://192.168.0.1/",
  "http://3232235521/",
  "http://100.64.0.1/",
  "http://169.254.169.254/latest/meta-data/",
  "http://2852039166/",
  "http://0xa9fea9fe/",
  "http://0251.0376.0251.0376/",
  "http://169.254.43518/",
  "http://169.254.170.2/v2/credentials",
  "http://168.63.129.16/machine",
  "http://100.100.100.200/latest/meta-data/",
  "http://192.0.0.192/",
  "http://198.18.0.1/",
  "http://224.0.0.1/",
  "http://255.255.255.255/",
  "http://[::]/",
  "http://[::1]/",
  "http://[0:0:0:0:0:0:0:1]/",
  "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
  "http://[::127.0.0.1]/",
  "http://[::ffff:127.0.0.1]/",
  "http://[::ffff:7f00:1]/",
  "http://[::FFFF:169.254.169.254]/",
  "http://[::ffff:0:127.0.0.1]/",
  "http://[64:ff9b::127.0.0.1]/",
  "http://[64:ff9b:1::a9fe:a9fe]/",
  "http://[2002:7f00:1::]/",
  "http://[2002:a9fe:a9fe::1]/",
  "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
  "http://[2001:db8::1]/",
  "http://[fc00::1]/",
  "http://[fd00:ec2::254]/",
  "http://[fe80::1]/",
  "http://[fec0::1]/",
  "http://[ff02::1]/",
  "http://[100::1]/",
  "http://[200::1]/",
  "http://[4000::1]/",
  "http://[5f00::1]/",
  "http://[3fff::1]/",
]);
spell(/names a local host/, [
  "http://localhost/",
  "http://localhost./",
  "http://LOCALHOST/",
  "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
  "http://l%6fcalhost/",
  "http://app.localhost/",
  "http://app.localhost./",
  "http://localhost.localdomain/",
  "http://printer.local/",
  "http://metadata.google.internal/computeMetadata/v1/",
  "http://metadata.google.internal./",
  "http://metadata/",
  "http://kubernetes/",
  "http://postgres./",
  "http://router.home.arpa/",
  "http://wiki.corp/",
  "http://nas.lan/",
]);
spell(/neither an http nor an https URL/, [
  "file:///etc/passwd",
  "ftp://example.com/",
  "gopher://example.com:70/_",
  "data:image/png;base64,AAAA",
  "javascript:alert(1)",
  "ws://example.com/",
  "unix:/var/run/docker.sock",
  "blob:http://example.com/1",
]);
spell(/not a valid URL/, [
  "",
  "example.com/a.png",
  "//example.com/a.png",
  "/etc/passwd",
  "http://",
  "http://[fe80::1%25eth0]/",
  "http://[fe80::1%eth0]/",
  "http://[::1/",
  "http://127.0.0.256/",
  "http://1.2.3.4.5/",
  "http://0x1.2.3.4.0x5/",
  "http://4294967296/",
  "http://example.com:99999/",
  "http://exa mple.com/",
  "http://%00example.com/",
]);
spell(/user name or a password/, [
  "http://user@example.com/",
  "http://user:secret@example.com/",
  "http://:secret@example.com/",
  "http://example.com@127.0.0.1/",
  "http://example.com%2f@127.0.0.1/",
]);
spell(/invalid host name/, [
  "http://example..com/",
  "http://localhost../",
  "http://.example.com/",
  `http://${"a".repeat(64)}.com/`,
  `http://${"abcdefg.".repeat(32)}com/`,
]);
spell(/names port \d+; use 80 or 443/, [
  "http://example.com:22/",
  "http://example.com:6379/",
  "https://example.com:8443/",
  "http://8.8.8.8:8080/",
  "http://[2606:4700::1]:9200/",
]);
spell(/longer than 8192 characters/, [`https://example.com/${"a".repeat(8_192)}`]);

test("every hostile spelling is refused before any packet leaves, for what is wrong with it", () => {
  assert.ok(Object.keys(hostile).length >= 120);
  for (const [url, problem] of Object.entries(hostile)) {
    assert.throws(
      () => checkDestination(parseDestination(url), nobody),
      (error) =>
        error instanceof EgressError &&
        error.kind === "blocked" &&
        !error.sent &&
        problem.test(error.message),
      JSON.stringify(url.slice(0, 80)),
    );
  }
});

test("ordinary URLs pass", () => {
  const ordinary = [
    "https://example.com/a.png",
    "http://example.com:80/a.png?b=c#d",
    "http://example.com:443/",
    "https://example.com:80/",
    "https://example.com./",
    "https://bücher.example/ä ö.png",
    "https://1.1.1.1/",
    "https://[2606:4700:4700::1111]/",
    "https://localhost.example.com/",
    "https://internal.example.com/",
    `https://example.com/${"a".repeat(8_000)}`,
  ];
  for (const url of ordinary) checkDestination(parseDestination(url), nobody);
  assert.throws(() => parseDestination(ordinary[0]!, 10), /longer than 10 characters/);
});

test("a refusal never repeats the URL, because URLs carry secrets", () => {
  for (const url of ["http://user:secret@example.com/", "http://10.0.0.1/?token=secret"]) {
    assert.throws(
      () => checkDestination(parseDestination(url), nobody),
      (error) => error instanceof EgressError && !error.message.includes("secret"),
    );
  }
});

test("what the operator trusts may have any port, and a name waits for its addresses", () => {
  const policy = createAddressPolicy(["127.0.0.0/8", "fd00::/8"]);
  const passing = [
    "http://127.0.0.1:9000/",
    "http://127.1:1/",
    "http://[fd00::1]:8080/",
    "http://gpu:8188/",
    "http://example.com:8188/",
  ];
  for (const url of passing) checkDestination(parseDestination(url), policy);
  for (const url of ["http://10.0.0.1/", "http://8.8.8.8:8080/", "http://[::1]:9000/"]) {
    assert.throws(() => checkDestination(parseDestination(url), policy), EgressError, url);
  }
});

test("a list of hosts means those names, or with a star everything below one", () => {
  const hosts = ["api.example.com", "*.Delivery.example"];
  for (const host of [
    "api.example.com",
    "api.example.com.",
    "eu1.delivery.example",
    "a.b.delivery.example",
  ]) {
    assert.equal(isListedHost(host, hosts), true, host);
  }
  for (const host of [
    "example.com",
    "x.api.example.com",
    "delivery.example",
    "evildelivery.example",
    "eu1.delivery.example.evil.com",
  ]) {
    assert.equal(isListedHost(host, hosts), false, host);
  }
});

test("plain http counts as secure only inside what the operator trusts", () => {
  const trusting = createAddressPolicy(["127.0.0.0/8"]);
  const rows: [url: string, byNobody: boolean, byTrusting: boolean][] = [
    ["https://example.com/", true, true],
    ["https://1.1.1.1/", true, true],
    ["http://example.com/", false, true],
    ["http://1.1.1.1/", false, false],
    ["http://127.0.0.1:8188/", false, true],
    ["http://gpu:8188/", false, true],
  ];
  for (const [url, byNobody, byTrusting] of rows) {
    assert.equal(isSecure(parseDestination(url), nobody), byNobody, url);
    assert.equal(isSecure(parseDestination(url), trusting), byTrusting, url);
  }
});

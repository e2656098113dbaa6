/** The examples of Amazon's documentation of Signature Version 4 for S3, with its example credentials. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { hide } from "../lib/secrets.ts";
import { createS3Signer } from "./s3-signer.ts";

const emptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

function createExample(sessionToken: string | null = null) {
  return createS3Signer({
    region: "us-east-1",
    credentials: {
      accessKeyId: "AKIAIOSFODNN7EXAMPLE",
      secretAccessKey: hide("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
      sessionToken: sessionToken === null ? null : hide(sessionToken),
    },
    clock: { now: () => Date.UTC(2013, 4, 24) },
  });
}

function signatureOf(headers: Record<string, string>): string | undefined {
  return /Signature=(\w+)$/.exec(headers["authorization"] ?? "")?.[1];
}

test("a request is signed as documented", async () => {
  const examples = [
    ["?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"],
    ["?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"],
  ];
  for (const [query, signature] of examples) {
    const headers = await createExample().sign({
      method: "GET",
      url: new URL(`https://examplebucket.s3.amazonaws.com/${query}`),
      headers: {},
      bodySha256: emptySha256,
    });
    assert.equal(signatureOf(headers), signature, query);
    assert.equal(headers["x-amz-date"], "20130524T000000Z");
  }
});

test("a write is signed as documented, with the digest of its body", async () => {
  const headers = await createExample().sign({
    method: "PUT",
    url: new URL("https://examplebucket.s3.amazonaws.com/test%24file.text"),
    headers: { date: "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY" },
    bodySha256: "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
  });
  assert.equal(
    signatureOf(headers),
    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
  );
});

test("a link is signed as documented", async () => {
  const url = new URL("https://examplebucket.s3.amazonaws.com/test.txt");
  const link = new URL(await createExample().presign(url, 86_400));
  assert.equal(
    link.searchParams.get("X-Amz-Signature"),
    "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
  );
});

test("a link writes spaces as they are signed", async () => {
  const url = new URL("https://examplebucket.s3.amazonaws.com/test.txt");
  url.searchParams.set("response-content-disposition", "inline; filename=a+b.png");
  const link = await createExample().presign(url, 60);
  assert.ok(link.includes("response-content-disposition=inline%3B%20filename%3Da%2Bb.png"), link);
  assert.ok(!link.includes("+"), link);
});

test("temporary credentials send their token, in a link too", async () => {
  const signer = createExample("a token");
  const url = new URL("https://examplebucket.s3.amazonaws.com/test.txt");
  const request = { method: "GET", url, headers: {}, bodySha256: emptySha256 };
  const headers = await signer.sign(request);
  assert.equal(headers["x-amz-security-token"], "a token");
  assert.match(headers["authorization"] ?? "", /SignedHeaders=[^,]*x-amz-security-token/);
  const link = new URL(await signer.presign(url, 60));
  assert.equal(link.searchParams.get("X-Amz-Security-Token"), "a token");
});

/**
 * An upstream of the OpenAI Images protocol that costs next to nothing: its replies are ready before
 * they are asked for, and leave together once as many requests wait as the first argument says. A
 * prompt with `[jpeg]` gets a picture in another format than was asked for.
 */
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

import sharp from "sharp";

import { systemRandom } from "../server/src/lib/random.ts";

const together = Number(process.argv[2] ?? 1);
const side = 1_024;
const pictureBytes = 2_000_000;
/** Requests that are alone, because another one failed, are answered all the same. */
const aloneMs = 100;

/** Noise cannot be compressed; so many rows of it, and a flat rest, make a picture of the wanted length. */
async function paintNoise(format: "png" | "jpeg"): Promise<Buffer> {
  const noise = systemRandom.bytes(format === "png" ? pictureBytes : side * side * 3);
  const pixels = Buffer.concat([noise, Buffer.alloc(side * side * 3 - noise.length)]);
  const picture = sharp(pixels, { raw: { width: side, height: side, channels: 3 } });
  return format === "png"
    ? picture.png({ compressionLevel: 1 }).toBuffer()
    : picture.jpeg({ quality: 98, chromaSubsampling: "4:4:4" }).toBuffer();
}

function replyWith(picture: Buffer): Buffer {
  const usage = {
    input_tokens: 12,
    input_tokens_details: { text_tokens: 12, image_tokens: 0 },
    output_tokens: 1_056,
    output_tokens_details: { image_tokens: 1_056, text_tokens: 0 },
    total_tokens: 1_068,
  };
  return Buffer.from(
    JSON.stringify({
      created: 1_795_219_200,
      background: "opaque",
      output_format: "png",
      quality: "medium",
      size: `${side}x${side}`,
      data: [{ b64_json: picture.toString("base64") }],
      usage,
    }),
  );
}

const kept = replyWith(await paintNoise("png"));
const converted = replyWith(await paintNoise("jpeg"));

const waiting: { response: ServerResponse; reply: Buffer }[] = [];

function answerAll(): void {
  for (const { response, reply } of waiting.splice(0)) {
    response.writeHead(200, {
      "content-type": "application/json",
      "content-length": reply.length,
    });
    response.end(reply);
  }
}

let alone = setTimeout(answerAll, aloneMs);
const server = createServer((request, response) => {
  void text(request).then((body) => {
    waiting.push({ response, reply: body.includes("[jpeg]") ? converted : kept });
    clearTimeout(alone);
    alone = setTimeout(answerAll, aloneMs);
    if (waiting.length >= together) answerAll();
  });
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
// A TCP server that listens has a port.
const { port } = server.address() as AddressInfo;
process.stdout.write(`ready http://127.0.0.1:${port}\n`);

/** An OpenAI-compatible vendor in this process: 50 ms, unless told, a picture of 20 kB, and the time of its last byte. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { randomBytes } from "node:crypto";
import { crc32, deflateSync } from "node:zlib";

export type TimedVendor = {
  /** With its `/v1`. */
  baseUrl: string;
  /** When the last byte for a prompt had left, on the clock of `performance.now()`. */
  sentAt(prompt: string): number | null;
  stop(): void;
};

const side = 1_024;
/** Random bytes that do not shrink; the rest of the picture is blank. */
const noiseBytes = 20_000;

export async function startTimedVendor(vendorMs = 50): Promise<TimedVendor> {
  const sent = new Map<string, number>();
  const picture = drawPng().toString("base64");
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      const text = Buffer.concat(pieces).toString();
      const { prompt = "" } = (text === "" ? {} : JSON.parse(text)) as { prompt?: string };
      const body = JSON.stringify({
        created: 1_795_219_200,
        size: `${side}x${side}`,
        quality: "low",
        output_format: "png",
        data: [{ b64_json: picture }],
        usage: { input_tokens: 10, output_tokens: 196, total_tokens: 206 },
      });
      setTimeout(() => {
        response.setHeader("content-type", "application/json");
        response.end(body, () => sent.set(prompt, performance.now()));
      }, vendorMs);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    baseUrl: `http://127.0.0.1:${port}/v1`,
    sentAt: (prompt) => sent.get(prompt) ?? null,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A grey picture with some rows of noise. */
function drawPng(): Buffer {
  const raw = Buffer.alloc((side + 1) * side);
  const noise = randomBytes(noiseBytes);
  for (let from = 0, row = 0; from < noiseBytes; from += side, row += 1) {
    noise.copy(raw, row * (side + 1) + 1, from, Math.min(from + side, noiseBytes));
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(side, 0);
  head.writeUInt32BE(side, 4);
  // Eight bits a pixel, grey, no interlacing.
  head.set([8, 0, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const parts = [chunk("IHDR", head), chunk("IDAT", deflateSync(raw)), chunk("IEND")];
  return Buffer.concat([signature, ...parts]);
}

function chunk(type: string, data: Buffer = Buffer.alloc(0)): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(data.length, 0);
  frame.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
}

/**
 * The official OpenAI client, unchanged but for its base URL and key: generate, edit, stream.
 *
 *   npm install openai
 *   DARKROOM_KEY=sk-test-… node openai.ts
 */
import { createReadStream } from "node:fs";
import { writeFile } from "node:fs/promises";

import OpenAI, { APIError } from "openai";

const { DARKROOM_URL: gateway = "http://127.0.0.1:8787", DARKROOM_KEY: key } = process.env;
if (key === undefined) throw new Error("DARKROOM_KEY is not set; give it an API key");

const openai = new OpenAI({ baseURL: `${gateway}/openai/v1`, apiKey: key });

async function save(file: string, base64: string | undefined): Promise<void> {
  await writeFile(file, Buffer.from(base64 ?? "", "base64"));
  console.log(`saved ${file}`);
}

// OpenAI's own names work, and so does every other model of the gateway: flux-2-pro, gemini-…
const made = await openai.images.generate({
  model: "gpt-image-1",
  prompt: "A red fox in the snow",
  size: "1024x1024",
  quality: "low",
});
await save("fox.png", made.data?.[0]?.b64_json);
console.log(`${made.size}, quality ${made.quality}`);

const edited = await openai.images.edit({
  model: "gpt-image-1",
  image: createReadStream(process.argv[2] ?? `${import.meta.dirname}/../mug.png`),
  prompt: "This mug on a beach",
  quality: "low",
});
await save("beach.png", edited.data?.[0]?.b64_json);

const stream = await openai.images.generate({
  model: "gpt-image-1",
  prompt: "A blue owl at night",
  quality: "low",
  stream: true,
});
for await (const event of stream) {
  if (event.type === "image_generation.completed") await save("owl.png", event.b64_json);
}

// Errors have OpenAI's shape and codes, so that existing handling works. The words in brackets make one,
// under a test key only.
const prompt = "A fox [[fail:content_policy_violation]]";
try {
  await openai.images.generate({ model: "gpt-image-1", prompt, quality: "low" });
} catch (error) {
  if (!(error instanceof APIError)) throw error;
  console.log(`HTTP ${error.status} ${error.code}: ${error.message}`);
}

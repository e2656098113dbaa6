/**
 * Receives a webhook and verifies its signature; submits a task to have one.
 *
 *   DARKROOM_KEY=sk-test-… node webhook.ts
 *
 * The gateway must be able to reach this program: at WEBHOOK_URL if that is set, else on this machine, for
 * which a gateway has to be started with DARKROOM_EGRESS_ALLOW=127.0.0.0/8.
 */
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

type Task = {
  id: string;
  status: "completed" | "failed";
  result?: { images: { url: [string] }[] };
  error?: { code: string; message: string };
};

const { DARKROOM_URL: gateway = "http://127.0.0.1:8787", DARKROOM_KEY: key } = process.env;
const { PORT = "0", WEBHOOK_URL: publicUrl } = process.env;
if (key === undefined) throw new Error("DARKROOM_KEY is not set; give it an API key");

const bodyBytesMax = 1_048_576;
const ageSecondsMax = 300;

async function call<Data>(path: string, body?: object): Promise<Data> {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const reply = await fetch(gateway + path, {
    ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    headers: body === undefined ? headers : { ...headers, "idempotency-key": randomUUID() },
  });
  const received = (await reply.json()) as { data: Data; error?: { message: string } };
  if (!reply.ok) throw new Error(`HTTP ${reply.status}: ${received.error?.message}`);
  return received.data;
}

/** The secret of the account; a registered endpoint has one of its own. */
const { secret } = await call<{ secret: string }>("/v1/webhooks/secret");

/** True when the body, byte for byte, was signed with our secret, and not long ago. */
function isSigned({ headers }: IncomingMessage, body: Buffer): boolean {
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) =>
    String(headers[`webhook-${name}`]),
  );
  const ageSeconds = Math.abs(Date.now() / 1_000 - Number(timestamp));
  if (!(ageSeconds <= ageSecondsMax)) return false;
  const secretBytes = Buffer.from(secret.slice("whsec_".length), "base64");
  const wanted = createHmac("sha256", secretBytes)
    .update(`${id}.${timestamp}.`)
    .update(body)
    .digest();
  // There are two signatures for a day after the secret was changed.
  return (signatures ?? "").split(" ").some((one) => {
    const given = Buffer.from(one.replace(/^v1,/, ""), "base64");
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  });
}

async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > bodyBytesMax) return null;
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

const seen = new Set<string>();
const { promise: told, resolve: tell } = Promise.withResolvers<Task>();

/** The status to answer with. Anything but 2xx is sent again. */
async function receive(request: IncomingMessage): Promise<number> {
  if (request.method !== "POST" || request.url !== "/callback") return 404;
  const body = await readBody(request);
  if (body === null) return 413;
  if (!isSigned(request, body)) {
    console.log("refused a call that is not signed by the gateway");
    return 401;
  }
  // The same event can come twice, and is the same at every try; a service keeps this in its database.
  const id = String(request.headers["webhook-id"]);
  if (seen.has(id)) return 204;
  seen.add(id);
  // Answer first and work later: a call that is not answered within 15 seconds counts as failed.
  tell(JSON.parse(body.toString()) as Task);
  return 204;
}

const server = createServer((request, response) => {
  receive(request).then(
    (status) => response.writeHead(status, { connection: "close" }).end(),
    () => response.destroy(),
  );
});
await new Promise<void>((resolve) => server.listen(Number(PORT), resolve));
const { port } = server.address() as AddressInfo;
const webhook = publicUrl ?? `http://127.0.0.1:${port}`;
console.log(`receiving at ${webhook}/callback`);

const [submitted] = await call<[{ task_id: string }]>("/v1/images/generations", {
  model: "gemini-3.1-flash-image-preview",
  resolution: "0.5K",
  prompt: "A red fox in the snow",
  webhook,
});
console.log(`submitted ${submitted.task_id}`);

const task = await told;
console.log(`verified: ${task.id} ${task.status}`);
console.log(task.result?.images[0]?.url[0] ?? task.error?.message);
server.close();

import type { Egress, EgressReply } from "../lib/egress.ts";
import { createGate } from "../lib/gate.ts";
import type { Gate } from "../lib/gate.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import type { PictureLimits } from "./picture.ts";
import { checkFormat } from "./sniff.ts";

/** The host of a picture answered, but not with a picture. */
export class DownloadError extends Error {
  /** As on the wire; never 200. */
  readonly status: number;

  constructor(status: number) {
    super(`the host of the picture answered with status ${status}`);
    this.name = "DownloadError";
    this.status = status;
  }
}

export type Download = {
  url: string;
  /** For the first host alone; credentials do not follow a redirect to another one. */
  headers: Readonly<Record<string, string>>;
  /** As in `EgressRequest.hosts`; null for any public host. */
  allowedHosts: readonly string[] | null;
  /** Calls the download off, with an `EgressError` (`aborted`). */
  signal?: AbortSignal | undefined;
};

const timeoutMs = 2 * minuteMs;
const headersTimeoutMs = 30 * secondMs;
const gapTimeoutMs = 20 * secondMs;
const redirectsMax = 2;
/** Enough to tell a picture from everything else. */
const headBytes = 16;
const inFlightBytesMax = 256 * 2 ** 20;

/** What is in memory between a host and the store. */
const gates = new WeakMap<object, Gate>();

/**
 * Fetches a finished picture whole and hands its bytes to `use`; they count as being in memory until that
 * is done, and downloads that share `memory` wait for one another when too many bytes are. What does not
 * begin like a picture is not read on. Throws `EgressError`, `DownloadError`, or `PictureError`.
 */
export async function downloadPicture<T>(
  { egress, memory }: { egress: Egress; memory: object },
  { url, headers, allowedHosts, signal }: Download,
  limits: PictureLimits,
  use: (bytes: Uint8Array) => Promise<T>,
): Promise<T> {
  const reply = await egress.request(url, {
    headers,
    bytesMax: limits.bytesMax,
    timeoutMs,
    headersTimeoutMs,
    gapTimeoutMs,
    redirectsMax,
    secure: true,
    signal,
    ...(allowedHosts === null ? {} : { hosts: allowedHosts }),
  });
  if (reply.status !== 200) {
    reply.discard();
    throw new DownloadError(reply.status);
  }
  const gate = gates.get(memory) ?? createGate(inFlightBytesMax);
  gates.set(memory, gate);
  // A host that does not say how much it sends may send all that is allowed.
  const weight = Math.min(announcedBytes(reply) ?? limits.bytesMax, limits.bytesMax);
  return gate.run(new URL(reply.url).host, weight, async () =>
    use(await readPicture(reply, limits)),
  );
}

function announcedBytes({ headers }: EgressReply): number | null {
  const length = Number(headers["content-length"] ?? Number.NaN);
  return Number.isSafeInteger(length) && length >= 0 ? length : null;
}

async function readPicture(reply: EgressReply, limits: PictureLimits): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let received = 0;
  let isKnown = false;
  for await (const chunk of reply.body) {
    chunks.push(chunk);
    received += chunk.byteLength;
    if (isKnown || received < headBytes) continue;
    checkFormat(Buffer.concat(chunks), limits);
    isKnown = true;
  }
  return Buffer.concat(chunks);
}

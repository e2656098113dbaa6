import { createHash } from "node:crypto";

/** One part of a form; `name` and `filename` are words of ours, never a caller's. */
export type FormPart =
  | { name: string; value: string }
  | { name: string; filename: string; contentType: string; bytes: Uint8Array };

export type Form = { contentType: string; body: Uint8Array };

/** A `multipart/form-data` body; `attemptId` makes its boundary one that nobody can foresee. */
export function encodeForm(parts: readonly FormPart[], attemptId: string): Form {
  const boundary = boundaryOf(parts, attemptId);
  const chunks = parts.flatMap((part) => [
    Buffer.from(`--${boundary}\r\n${headOf(part)}\r\n\r\n`),
    "bytes" in part ? part.bytes : Buffer.from(part.value),
    Buffer.from("\r\n"),
  ]);
  chunks.push(Buffer.from(`--${boundary}--\r\n`));
  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    body: Buffer.concat(chunks),
  };
}

/** Depends on all texts, so that no prompt can contain it; files are stored before the attempt has an id. */
function boundaryOf(parts: readonly FormPart[], attemptId: string): string {
  const hash = createHash("sha256").update(attemptId);
  for (const part of parts) if ("value" in part) hash.update(`\0${part.value}`);
  return `darkroom-${hash.digest("hex").slice(0, 40)}`;
}

function headOf(part: FormPart): string {
  const disposition = `Content-Disposition: form-data; name="${part.name}"`;
  if (!("bytes" in part)) return disposition;
  return `${disposition}; filename="${part.filename}"\r\nContent-Type: ${part.contentType}`;
}

/**
 * The master secret: 32 random bytes, as 64 hexadecimal characters in a file that only its owner can
 * read. Everything that signs or digests derives its own key from it, so no key is used for two
 * things. Whoever loses the file loses every link, API key digest and signature made with it.
 */
import { hkdfSync } from "node:crypto";
import { link, open, readFile, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { inspect } from "node:util";

import type { Random } from "./random.ts";

/** What keys are derived for; each name gives an unrelated key. */
export type SecretPurpose = "links" | "api-keys" | "vault";

export type Secrets = {
  /** The 32-byte key of a purpose; the same on every node that has the same secret file. */
  derive(purpose: SecretPurpose): Buffer;
  /** 16 hexadecimal characters that tell two secrets apart and reveal nothing about them. */
  readonly fingerprint: string;
};

/** The secret file cannot be used; the message tells the operator why and what to do. */
export class SecretFileError extends Error {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = "SecretFileError";
  }
}

const secretBytes = 32;
const hint = "it must hold 64 hexadecimal characters (make one with: openssl rand -hex 32)";

/**
 * Reads the secret file, or makes it when there is none; `created` says which. Processes that start
 * at the same moment end up with the same secret. Throws `SecretFileError` when the file is
 * malformed, unreadable, or open to others than its owner and the group that it was handed over to.
 */
export async function loadOrCreateSecrets(
  path: string,
  random: Random,
): Promise<{ secrets: Secrets; created: boolean }> {
  const found = await findMaster(path);
  if (found !== null) return { secrets: createSecrets(found), created: false };
  const created = await createFile(path, random);
  const master = await findMaster(path);
  if (master === null) throw new SecretFileError(`secret file ${path} vanished while it was made`);
  return { secrets: createSecrets(master), created };
}

/** Derives keys from a master secret of 32 bytes. */
export function createSecrets(master: Uint8Array): Secrets {
  return {
    derive: (purpose) => deriveKey(master, `key ${purpose}`),
    fingerprint: deriveKey(master, "fingerprint").toString("hex").slice(0, 16),
  };
}

/** A configured secret that shows as `***` wherever it is printed or turned into JSON. */
export type Hidden = {
  reveal(): string;
  toString(): string;
  toJSON(): string;
};

export function hide(text: string): Hidden {
  return Object.freeze({
    reveal: () => text,
    toString: mask,
    toJSON: mask,
    [inspect.custom]: mask,
  });
}

function mask(): string {
  return "***";
}

function deriveKey(master: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", master, "darkroom v1", purpose, secretBytes));
}

async function findMaster(path: string): Promise<Buffer | null> {
  let text: string;
  try {
    const found = await stat(path);
    checkFile(path, found);
    text = await readFile(path, "latin1");
  } catch (error) {
    if (error instanceof SecretFileError) throw error;
    if (codeOf(error) === "ENOENT") return null;
    throw failure(path, "cannot be read", error);
  }
  if (!/^[0-9a-fA-F]{64}\r?\n?$/.test(text)) {
    throw new SecretFileError(`secret file ${path} is malformed; ${hint}`);
  }
  return Buffer.from(text.slice(0, secretBytes * 2), "hex");
}

function checkFile(path: string, found: Awaited<ReturnType<typeof stat>>): void {
  if (!found.isFile()) throw new SecretFileError(`secret file ${path} is not a file`);
  // Windows keeps no such bits: everything looks readable by all there.
  if (process.platform === "win32") return;
  const mode = Number(found.mode) & 0o777;
  const forbidden = isHandedOver(found) ? 0o037 : 0o077;
  if ((mode & forbidden) === 0) return;
  throw new SecretFileError(
    `secret file ${path} is open to other users (mode ${mode.toString(8).padStart(4, "0")}); ` +
      `it must be 0600, or 0440 where it is handed over to a group (run: chmod 600 ${path})`,
  );
}

/**
 * True for a file that somebody else has put there: one of ours belongs to our user, who may write it. Kubernetes
 * (fsGroup) and systemd (LoadCredential) hand secrets over by a group, whose bit is then set.
 */
function isHandedOver({ mode, uid }: Awaited<ReturnType<typeof stat>>): boolean {
  const isWritable = (Number(mode) & 0o200) !== 0;
  return !isWritable || Number(uid) !== process.getuid?.();
}

/**
 * Makes the file whole under another name and links it into place: a link fails when the name is
 * taken, and nobody ever sees half a secret. False when another process was first.
 */
async function createFile(path: string, random: Random): Promise<boolean> {
  const temporary = `${path}.${random.bytes(8).toString("hex")}.tmp`;
  try {
    await writeWhole(temporary, `${random.bytes(secretBytes).toString("hex")}\n`);
    await link(temporary, path);
    await syncFolder(dirname(path));
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw failure(path, "cannot be made", error);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function writeWhole(path: string, text: string): Promise<void> {
  const handle = await open(path, "wx", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  // Windows opens no folder for syncing.
  if (process.platform === "win32") return;
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function failure(path: string, what: string, cause: unknown): SecretFileError {
  const code = codeOf(cause) ?? String(cause);
  return new SecretFileError(`secret file ${path} ${what}: ${code}`, { cause });
}

function codeOf(error: unknown): string | null {
  if (!(error instanceof Error) || !("code" in error)) return null;
  return typeof error.code === "string" ? error.code : null;
}

import type { Database } from "../db/database.ts";
import type { Mode } from "../db/schema.ts";
import { AppError } from "../lib/errors.ts";
import type { Ids } from "../lib/ids.ts";
import type { Random } from "../lib/random.ts";
import type { Clock } from "../lib/time.ts";
import { extensionOf, objectName } from "../storage/names.ts";
import type { Links } from "../storage/links.ts";
import type { Storage } from "../storage/storage.ts";
import { PictureError } from "./picture.ts";
import type { PictureInfo, PictureProcesses } from "./picture.ts";
import { referencePixelsMax } from "./references.ts";
import { insertUpload } from "./store.ts";

export type UploadDeps = {
  db: Database;
  clock: Clock;
  random: Random;
  ids: Ids;
  storage: Storage;
  pictures: PictureProcesses;
  links: Links;
  /** How long an upload can be used, in milliseconds. */
  ttlMs: number;
  publicUrl(): string;
};

export type UploadInput = {
  accountId: string;
  mode: Mode;
  /** As the caller named it; shown back, never used as a path. */
  filename: string;
  bytes: Uint8Array;
};

export type Upload = {
  url: string;
  filename: string;
  contentType: string;
  bytes: number;
  createdAt: number;
};

const uploadBytesMax = 20 * 2 ** 20;
const filenameLengthMax = 255;

/** Keeps a picture for use as a reference. Throws `invalid_image` for bytes that are none of the four formats. */
export async function saveUpload(deps: UploadDeps, input: UploadInput): Promise<Upload> {
  const { bytes, info } = await cleanUpload(deps, input.bytes);
  const object = objectName(deps.random);
  await deps.storage.put(object, bytes);
  const createdAt = deps.clock.now();
  const expiresAt = createdAt + deps.ttlMs;
  const filename = input.filename.slice(0, filenameLengthMax);
  await deps.db.transaction((tx) =>
    insertUpload(tx, {
      account_id: input.accountId,
      mode: input.mode,
      id: deps.ids("upload"),
      object,
      filename,
      content_type: info.contentType,
      width: info.width,
      height: info.height,
      bytes: bytes.byteLength,
      created_at: createdAt,
      expires_at: expiresAt,
    }),
  );
  await deps.db.durable();
  const path = deps.links.sign(object, extensionOf(info.contentType), expiresAt);
  return {
    url: `${deps.publicUrl()}${path}`,
    filename,
    contentType: info.contentType,
    bytes: bytes.byteLength,
    createdAt,
  };
}

async function cleanUpload(
  { pictures }: UploadDeps,
  bytes: Uint8Array,
): Promise<{ bytes: Uint8Array; info: PictureInfo }> {
  try {
    return await pictures.clean(bytes, {
      formats: ["jpeg", "png", "webp", "gif"],
      pixelsMax: referencePixelsMax,
      bytesMax: uploadBytesMax,
    });
  } catch (error) {
    if (!(error instanceof PictureError)) throw error;
    throw new AppError("invalid_image", `file ${error.message}`, { param: "file", cause: error });
  }
}

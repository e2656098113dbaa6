import type { MultipartFile } from "@fastify/multipart";
import { fastifyMultipart } from "@fastify/multipart";
import type { FastifyInstance, FastifyRequest } from "fastify";

import type { UploadReply } from "../../../client/src/uploads.ts";
import type { Upload, UploadInput } from "../images/uploads.ts";
import { AppError } from "../lib/errors.ts";
import { toUnixSeconds } from "../lib/time.ts";
import type { Auth } from "./auth.ts";
import { unsupportedMediaType } from "./framework-error.ts";
import { callerOf } from "./request.ts";

export type UploadsDeps = {
  auth: Auth;
  /** Throws `invalid_image`, with param `file`, for bytes that are no picture. */
  saveUpload: (input: UploadInput) => Promise<Upload>;
};

export const uploadBytesMax = 20_971_520;
/** Boundaries, part headers and the small fields that some clients add. */
const envelopeBytesMax = 65_536;
const mediaType = "multipart/form-data with one part named file";

export function registerUploads(app: FastifyInstance, deps: UploadsDeps): void {
  // A scope of its own: no other route takes multipart, and this one takes nothing else.
  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    await scope.register(fastifyMultipart, {
      throwFileSizeLimit: false,
      limits: {
        fileSize: uploadBytesMax,
        files: 2,
        fields: 16,
        parts: 18,
        fieldSize: 1_024,
        fieldNameSize: 100,
        headerPairs: 20,
      },
    });
    const onRequest = [deps.auth.identify, deps.auth.limit, assertUploadSize];
    scope.post("/v1/uploads/images", { onRequest, config: { mediaType } }, (request) =>
      receiveUpload(deps, request),
    );
  });
}

async function receiveUpload(deps: UploadsDeps, request: FastifyRequest): Promise<UploadReply> {
  const { accountId, mode } = callerOf(request);
  const { filename, bytes } = await readUpload(request);
  return presentUpload(await deps.saveUpload({ accountId, mode, filename, bytes }));
}

/** Refuses by Content-Length what would only be thrown away after it was received. */
async function assertUploadSize(request: FastifyRequest): Promise<void> {
  const bytes = Number(request.headers["content-length"] ?? 0);
  if (bytes > uploadBytesMax + envelopeBytesMax) throw tooLarge(bytes);
}

async function readUpload(request: FastifyRequest): Promise<{ filename: string; bytes: Buffer }> {
  if (!request.isMultipart()) {
    throw unsupportedMediaType(request.headers["content-type"], mediaType);
  }
  try {
    return await readOnlyFile(request);
  } catch (error) {
    throw error instanceof AppError ? error : malformed(error);
  } finally {
    // After a refusal the rest still arrives; unread it would hold the connection.
    request.raw.unpipe();
    request.raw.resume();
  }
}

async function readOnlyFile(request: FastifyRequest): Promise<{ filename: string; bytes: Buffer }> {
  let upload: { filename: string; bytes: Buffer } | null = null;
  for await (const part of request.parts()) {
    if (part.type === "field") {
      if (part.fieldname === "file") {
        throw new AppError(
          "invalid_body",
          "part file is a text; send it as a file, with a filename",
          {
            param: "file",
          },
        );
      }
      continue;
    }
    if (part.fieldname !== "file" || upload !== null) throw unexpectedFile(part.fieldname);
    upload = { filename: cleanFilename(part.filename), bytes: await readBytes(part) };
  }
  if (upload === null) {
    throw new AppError("missing_parameter", `part file is missing; send ${mediaType}`, {
      param: "file",
    });
  }
  return upload;
}

async function readBytes(part: MultipartFile): Promise<Buffer> {
  const bytes = await part.toBuffer();
  if (part.file.truncated) throw tooLarge(null);
  if (bytes.length === 0) {
    throw new AppError("invalid_image", "part file is empty", { param: "file" });
  }
  return bytes;
}

function tooLarge(bytes: number | null): AppError {
  const size = bytes === null ? "more" : `${bytes} bytes, more`;
  return new AppError(
    "image_too_large",
    `the upload has ${size} than the ${uploadBytesMax} bytes (20 MiB) that part file may have`,
    { param: "file" },
  );
}

function unexpectedFile(fieldname: string): AppError {
  const what =
    fieldname === "file"
      ? "a second part file is not accepted"
      : `a file in part ${JSON.stringify(fieldname.slice(0, 80))} is not accepted`;
  return new AppError("invalid_body", `${what}; send one file a request, in the part named file`, {
    param: "file",
  });
}

/** Whatever the multipart parser stumbles over is the body's fault: it sees nothing else. */
function malformed(error: unknown): AppError {
  return new AppError("invalid_body", `the body is not well-formed; send ${mediaType}`, {
    cause: error,
  });
}

/** For display only: no path, nothing that a terminal or a header would act on. */
function cleanFilename(filename: string): string {
  const base = filename.split(/[/\\]/).at(-1) ?? "";
  const clean = base.replaceAll(/[\p{Cc}\p{Cf}"]/gu, "").trim();
  return clean.slice(0, 100).toWellFormed() || "file";
}

function presentUpload(upload: Upload): UploadReply {
  return {
    url: upload.url,
    filename: upload.filename,
    content_type: upload.contentType,
    bytes: upload.bytes,
    created_at: toUnixSeconds(upload.createdAt),
  };
}

import type { Operation } from "../operation.ts";
import { accountSchemas } from "../schemas/account.ts";

const picture = { type: "string", contentMediaType: "application/octet-stream" };

export const uploadOperations: readonly Operation[] = [
  {
    method: "post",
    path: "/v1/uploads/images",
    id: "uploadImage",
    tag: "Uploads",
    summary: "Upload a reference",
    description:
      "One JPEG, PNG, WebP or GIF (its first frame) of at most 20 MB. The address that it answers can stand in `image_urls` and `mask_url`.",
    access: "key",
    body: {
      mediaType: "multipart/form-data",
      schema: {
        type: "object",
        properties: { file: { ...picture, description: "The picture, with a filename." } },
        required: ["file"],
      },
    },
    replies: {
      200: {
        description: "The picture is kept.",
        content: { schema: accountSchemas.UploadReply },
      },
    },
    reasons: ["missing_parameter", "invalid_parameter", "invalid_image", "image_too_large"],
  },
  {
    method: "get",
    path: "/f/{signed}/{file}",
    id: "readFile",
    tag: "Images",
    summary: "Fetch a picture by its link",
    description:
      "Links come with results and uploads; use them unchanged. They need no key and work until they expire.",
    access: "open",
    pathParameters: {
      signed: { description: "Expiry, key id and signature." },
      file: { description: "The stored object, with an ending." },
    },
    headers: ["Range", "If-None-Match"],
    replies: {
      200: {
        description: "The picture.",
        headers: ["ETag"],
        content: ["image/png", "image/jpeg", "image/webp"].map((mediaType) => ({
          mediaType,
          schema: picture,
        })),
      },
      206: {
        description: "A part of the picture.",
        headers: ["ETag", "Content-Range"],
        content: ["image/png", "image/jpeg", "image/webp"].map((mediaType) => ({
          mediaType,
          schema: picture,
        })),
      },
      302: {
        description: "The picture is fetched from the object store.",
        headers: ["Location"],
      },
      304: { description: "The picture at hand is the same.", headers: ["ETag"] },
      416: { description: "The range lies outside the picture.", headers: ["Content-Range"] },
    },
    reasons: ["file_not_found", "file_expired"],
  },
];

/** The wire types of `POST /v1/uploads/images`. */

export type UploadReply = {
  url: string;
  filename: string;
  content_type: string;
  bytes: number;
  created_at: number;
};

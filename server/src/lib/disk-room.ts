import { statfs } from "node:fs/promises";

/** Bytes that this process may still write, of all that the file system has. */
export type DiskRoom = { free: number; total: number };

/** The room where the folder is; null where the system does not tell. */
export async function readDiskRoom(folder: string): Promise<DiskRoom | null> {
  try {
    const { bavail, blocks, bsize } = await statfs(folder);
    return { free: bavail * bsize, total: blocks * bsize };
  } catch {
    return null;
  }
}

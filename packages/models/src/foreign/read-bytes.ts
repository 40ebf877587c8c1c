/** Parts of files. */

import { open } from "node:fs/promises";
import { AvjepaError } from "@avjepa/core";

/** One read's most bytes: system calls take no more than 2 GiB. */
const CHUNK = 1 << 30;

/**
 * @returns `count` bytes from `start` on.
 * @throws AvjepaError AVJ_FOREIGN when the file cannot be read or is shorter.
 */
export async function readBytes(
  path: string,
  start: number,
  count: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(count);
  try {
    const file = await open(path, "r");
    try {
      for (let at = 0; at < count;) {
        const size = Math.min(count - at, CHUNK);
        const { bytesRead } = await file.read(bytes, at, size, start + at);
        if (bytesRead === 0) throw new Error("the file has become shorter");
        at += bytesRead;
      }
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new AvjepaError(
      "AVJ_FOREIGN",
      `cannot read ${path}: ${(cause as Error).message}`,
      { cause },
    );
  }
  return bytes;
}

/**
 * A file that only grows, and can be cut back. Every write reaches the system
 * before the call returns, so a killed process loses none of them.
 */

import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  writeSync,
} from "node:fs";

import { fileError } from "./file_error.ts";

/** An append-only file. */
export class AppendFile {
  readonly #fd: number;

  /** Open `path`, or make it. */
  constructor(readonly path: string) {
    try {
      this.#fd = openSync(path, "a+");
    } catch (error) {
      throw fileError(error, "open", path);
    }
  }

  /** Bytes in the file. */
  get size(): number {
    return fstatSync(this.#fd).size;
  }

  /** Append all of `data`. */
  write(data: string | Uint8Array): void {
    let rest = typeof data === "string" ? Buffer.from(data) : data;
    try {
      while (rest.length > 0) rest = rest.subarray(writeSync(this.#fd, rest));
    } catch (error) {
      throw fileError(error, "write", this.path);
    }
  }

  /** The whole content. */
  read(): Buffer {
    return readFileSync(this.path);
  }

  /** Cut to `size` bytes. */
  cut(size: number): void {
    if (size === this.size) return;
    ftruncateSync(this.#fd, size);
    fsyncSync(this.#fd);
  }

  /** Close it. */
  close(): void {
    closeSync(this.#fd);
  }
}

/**
 * Cut a file of lines before the first line that `drop` refuses, and after the
 * last whole line (a killed process may leave a part of one).
 */
export function cutLines(
  file: AppendFile,
  drop: (line: string) => boolean,
): void {
  const content = file.read();
  let from = 0;
  for (;;) {
    const end = content.indexOf(0x0a, from);
    if (end < 0 || drop(content.toString("utf8", from, end))) break;
    from = end + 1;
  }
  file.cut(from);
}

/** Files that are there whole or not at all, also after a power cut. */

import {
  closeSync,
  fsyncSync,
  openSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

import { fileError } from "./file_error.ts";

/** Wait until a file's bytes, or a folder's entries, are on the disk. */
export function syncPath(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** {@link syncPath} between other events, for files that are large. */
export async function syncLarge(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Replace a file: written aside, synced, renamed over the old one. */
export function replaceFile(path: string, text: string): void {
  const aside = join(dirname(path), `.${basename(path)}.tmp`);
  try {
    writeFileSync(aside, text);
    syncPath(aside);
    renameSync(aside, path);
    syncPath(dirname(path));
  } catch (error) {
    rmSync(aside, { force: true });
    throw fileError(error, "write", path);
  }
}

/** Let the symbolic link `path` point to `target`, in one step. */
export function replaceLink(path: string, target: string): void {
  const aside = join(dirname(path), `.${basename(path)}.tmp`);
  try {
    rmSync(aside, { force: true });
    symlinkSync(target, aside);
    renameSync(aside, path);
    syncPath(dirname(path));
  } catch (error) {
    rmSync(aside, { force: true });
    throw fileError(error, "write the link", path);
  }
}

/** Where a symbolic link points, or undefined where there is none. */
export function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** Errors of the file system in the user's words. */

import { dirname } from "node:path";

import { AvjepaError } from "@avjepa/core/error";

const reasons: Record<string, [reason: string, hint?: string]> = {
  ENOSPC: ["the disk is full", "free some space, or choose another --folder"],
  EDQUOT: [
    "the disk quota is used up",
    "free some space, or choose another --folder",
  ],
  EFBIG: [
    "the file would be larger than allowed",
    "raise the limit (ulimit -f), or choose another file system",
  ],
  EACCES: ["permission denied"],
  EPERM: ["not permitted"],
  EROFS: ["the file system is read-only"],
  ENOTDIR: [
    "a part of the path is a file, not a folder",
    "name another path, or move that file away",
  ],
  EEXIST: ["something else has that name"],
  EISDIR: ["it is a folder"],
  ENOENT: ["there is no such file"],
  ENAMETOOLONG: ["the name is too long", "choose a shorter one"],
  ELOOP: ["its links lead in a circle", "name what the link should lead to"],
  EMFILE: ["too many files are open", "raise the limit (ulimit -n)"],
  EIO: ["the disk reports an error"],
};

/** The system's code of an error, `ENOSPC`, or undefined. */
export function systemCode(error: unknown): string | undefined {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" && code in reasons ? code : undefined;
}

/** Why the system refused, in words. */
export function systemReason(error: unknown): string {
  const code = systemCode(error);
  if (code) return reasons[code]![0];
  return error instanceof Error ? error.message : String(error);
}

/**
 * An error for `what` at `path`: `cannot make the run folder runs/a: a part of
 * the path is a file, not a folder`. One that is ours already is kept.
 */
export function fileError(
  cause: unknown,
  what: string,
  path: string,
): AvjepaError {
  if (AvjepaError.is(cause)) return cause;
  const code = systemCode(cause);
  const hint =
    (code && reasons[code]![1]) ??
    (code === "EACCES" || code === "EPERM" || code === "EROFS"
      ? `${dirname(path)} must be writable for you; or choose another --folder`
      : undefined);
  return new AvjepaError(
    "AVJ_FILE",
    `cannot ${what} ${path}: ${systemReason(cause)}`,
    { cause, ...(hint ? { hint } : {}) },
  );
}

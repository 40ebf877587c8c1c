/**
 * `state.json`: what a checkpoint is besides its tensors. It names every other
 * file with its size and SHA-256, and ends with a hash of itself, so that no
 * damage goes unseen. Its keys are in order and it holds no times, paths,
 * hosts or thread counts: equal runs write equal bytes.
 */

import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { join } from "node:path";

import { AvjepaError } from "@avjepa/core/error";

import { fileError } from "../files/file_error.ts";

/** The format this code writes, and the newest it reads. */
export const formatVersion = 1;

/** How to turn a state of format N into one of N + 1. */
export type Migrations = Readonly<Record<number, (state: State) => State>>;

/** Format 1 is the first: nothing to migrate yet. */
const migrations: Migrations = {};

/** A file of a checkpoint. */
export interface FileEntry {
  bytes: number;
  sha256: string;
}

/** A state as it stands in the file. */
export interface State {
  format_version: number;
  /** Optimizer steps done. */
  step: number;
  /** Every other file of the checkpoint. */
  files: Record<string, FileEntry>;
  /** What the run put there: configuration, cursor, random keys, … */
  [key: string]: unknown;
}

/** JSON with its keys in order. */
function canonicalJson(value: unknown): string {
  const sorted = (_: string, v: unknown): unknown =>
    typeof v === "object" && v !== null && !Array.isArray(v)
      ? Object.fromEntries(
          Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)),
        )
      : v;
  return JSON.stringify(value, sorted, 2);
}

/** The bytes of `state.json`. */
export function encodeState(state: State): string {
  const text = canonicalJson(state);
  return `${text.slice(0, -2)},\n  "state_sha256": "${sha256(text)}"\n}\n`;
}

const sha256 = (text: string): string =>
  createHash("sha256").update(text).digest("hex");

/**
 * Size and SHA-256 of a file, read in pieces and between other events: signals
 * are heard while gigabytes are hashed.
 */
export async function fileEntry(path: string): Promise<FileEntry> {
  const hash = new Bun.CryptoHasher("sha256");
  let bytes = 0;
  for await (const piece of createReadStream(path, {
    highWaterMark: 4 << 20,
  })) {
    hash.update(piece as Buffer);
    bytes += (piece as Buffer).length;
  }
  return { bytes, sha256: hash.digest("hex") };
}

/**
 * Read and check `state.json` of a checkpoint.
 *
 * @throws AvjepaError `AVJ_CHECKPOINT` where it is damaged or newer than this
 *   code; `hint` is put to errors of damage.
 */
export function readState(
  folder: string,
  hint?: string,
  table: Migrations = migrations,
): State {
  const path = join(folder, "state.json");
  const damaged = (why: string): AvjepaError =>
    new AvjepaError("AVJ_CHECKPOINT", `${path} is damaged: ${why}`, {
      ...(hint ? { hint } : {}),
    });
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const missing = (error as { code?: string }).code === "ENOENT";
    if (missing)
      throw new AvjepaError(
        "AVJ_CHECKPOINT",
        `${folder} is no checkpoint: it has no state.json`,
        hint ? { hint } : {},
      );
    throw fileError(error, "read", path);
  }
  let parsed: Record<string, unknown>;
  try {
    parsed = JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw damaged("it is not JSON");
  }
  const { state_sha256, ...state } = parsed;
  const { format_version } = state;
  if (!Number.isInteger(format_version))
    throw damaged("it has no format_version");
  const version = format_version as number;
  if (version > formatVersion)
    throw new AvjepaError(
      "AVJ_CHECKPOINT",
      `${folder} was written by a newer AV-JEPA: its format is ${version}, this one reads up to ${formatVersion}`,
      { hint: "update AV-JEPA" },
    );
  if (state_sha256 !== sha256(canonicalJson(state)))
    throw damaged("its hash is another than the one it was written with");
  let current = state as State;
  for (let v = version; v < formatVersion; v++) {
    const migrate = table[v];
    if (!migrate)
      throw new AvjepaError(
        "AVJ_CHECKPOINT",
        `${folder} has format ${v}, which this AV-JEPA no longer reads`,
        { hint: "continue it with the version that wrote it" },
      );
    current = { ...migrate(current), format_version: v + 1 };
  }
  return current;
}

/** Check the files that a state names. */
export async function verifyFiles(
  folder: string,
  state: State,
  hint?: string,
): Promise<void> {
  for (const [name, entry] of Object.entries(state.files)) {
    const path = join(folder, name);
    const damaged = (why: string): AvjepaError =>
      new AvjepaError("AVJ_CHECKPOINT", `${path} is damaged: ${why}`, {
        ...(hint ? { hint } : {}),
      });
    let found: FileEntry;
    try {
      found = await fileEntry(path);
    } catch (error) {
      if ((error as { code?: string }).code === "ENOENT")
        throw damaged("the file is missing");
      throw fileError(error, "read", path);
    }
    if (found.bytes !== entry.bytes)
      throw damaged(`it has ${found.bytes} bytes, not ${entry.bytes}`);
    if (found.sha256 !== entry.sha256)
      throw damaged("its hash is another than the one it was written with");
  }
}

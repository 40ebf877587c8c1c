/** Index files: reading them, and making one of a folder. */

import { realpathSync } from "node:fs";
import { rename } from "node:fs/promises";
import { dirname, extname, join, relative, resolve } from "node:path";

import { AvjepaError, callNative, native } from "@avjepa/core";

import { readMediaFolder } from "./media_folder.ts";

/** Lines of index files. */
export interface IndexLines {
  /** Relative paths are joined to their index's folder. */
  paths: string[];
  labels: Int32Array;
  /** Where each file's lines end. */
  ends: Int32Array;
  /** Changes when a path or a label does. */
  fingerprint: string;
}

/**
 * Reads index files.
 *
 * One `path label` a line, no header; the path in quotes if it has spaces, or
 * set apart by a tab or a comma; relative to the index's folder. A .npy file of
 * path strings is read too (its pickle can do nothing but that), all of label 0.
 *
 * @throws AvjepaError AVJ_INDEX naming file and line.
 */
export function readIndex(...files: string[]): IndexLines {
  return callNative(() => native.mediaReadIndex(files));
}

/** Endings of names that are taken for media. */
export const mediaExtensions: ReadonlySet<string> = new Set(
  (
    "mp4 m4v mov mkv webm avi ts mts m2ts mpg mpeg mpe m2v ogv wmv asf flv 3gp 3g2 " +
    "wav flac aif aiff aifc caf mp3 m4a aac ogg oga opus wma"
  ).split(" "),
);

/** Endings of names that are taken for pictures. */
export const imageExtensions: ReadonlySet<string> = new Set(
  "jpg jpeg jpe jfif png webp bmp gif".split(" "),
);

/** What {@link makeIndex} wrote. */
export interface MadeIndex {
  index: string;
  files: number;
  /** In the order of their labels. */
  classes: { name: string; label: number; files: number }[];
  /** What the user should know, a line each. */
  notices: string[];
}

/** What goes into an index, and how. */
export interface MakeIndexOptions {
  /** Of the files that are looked for, in small letters; default {@link mediaExtensions}. */
  extensions?: ReadonlySet<string>;
  /**
   * `relative`, the default, to the index's folder: both can be moved together.
   * `absolute`: the index is for here alone.
   */
  paths?: "relative" | "absolute";
}

/**
 * Writes an index of a folder: each of its sub-folders is a class, labelled by
 * its place in alphabetical order; see {@link readMediaFolder}.
 *
 * @throws AvjepaError AVJ_INDEX when there are no media files, some lie beside
 *   the classes, or a folder may not be read; AVJ_WRITE.
 */
export async function makeIndex(
  folder: string,
  output: string,
  options: MakeIndexOptions = {},
): Promise<MadeIndex> {
  if (extname(output).toLowerCase() !== ".csv")
    throw new AvjepaError("AVJ_USAGE", `${output}: an index ends in .csv`);
  const { classes, notices } = readMediaFolder(
    folder,
    options.extensions ?? mediaExtensions,
  );
  // As given, not resolved: the index and its files may be moved together.
  const [root, base] = [realpathSync(folder), resolve(dirname(output))];
  const name = (path: string): string => {
    const given = join(resolve(folder), relative(root, path));
    return options.paths === "absolute" ? given : relative(base, given);
  };
  const lines = classes.flatMap(({ paths }, label) =>
    paths.map((path) => line(name(path), label)),
  );
  await write(output, lines.join(""));
  return {
    index: output,
    files: lines.length,
    classes: classes.map(({ name, paths }, label) => ({
      name,
      label,
      files: paths.length,
    })),
    notices,
  };
}

function line(path: string, label: number): string {
  if (/[\n\r]/.test(path))
    throw new AvjepaError(
      "AVJ_INDEX",
      `${JSON.stringify(path)}: a name with a line break cannot stand in an index`,
      { hint: "rename the file" },
    );
  return native.mediaIndexLine(path, label);
}

/** Aside and renamed, so that no half-written index is ever read. */
async function write(path: string, text: string): Promise<void> {
  const aside = `${path}.${process.pid}.tmp`;
  try {
    await Bun.write(aside, text);
    await rename(aside, path);
  } catch (cause) {
    throw new AvjepaError(
      "AVJ_WRITE",
      `cannot write ${path}: ${(cause as Error).message}`,
      {
        cause,
        hint: "name a folder that may be written: -o elsewhere/clips.csv",
      },
    );
  }
}

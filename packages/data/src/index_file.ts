/** Index files: reading them, and making one of a folder. */

import { readdirSync, realpathSync, statSync } from "node:fs";
import { rename, stat } from "node:fs/promises";
import { basename, dirname, extname, join, relative, resolve } from "node:path";

import { AvjepaError, callNative, native } from "@avjepa/core";

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
  "jpg jpeg jpe png webp bmp gif".split(" "),
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

/**
 * Writes an index of a folder: each of its sub-folders is a class, labelled by
 * its place in alphabetical order; media files are looked for at any depth.
 * Files without sub-folders are all of class 0. Hidden files are left out.
 *
 * @param extensions of the files that are looked for, in small letters.
 *
 * @throws AvjepaError AVJ_INDEX when there are no media files, some lie beside
 *   the classes, or a folder may not be read; AVJ_WRITE.
 */
export async function makeIndex(
  folder: string,
  output: string,
  extensions: ReadonlySet<string> = mediaExtensions,
): Promise<MadeIndex> {
  const isMedia = (name: string): boolean =>
    extensions.has(extname(name).slice(1).toLowerCase());
  if (extname(output).toLowerCase() !== ".csv")
    throw new AvjepaError("AVJ_USAGE", `${output}: an index ends in .csv`);
  const info = await stat(folder).catch(() => null);
  if (!info?.isDirectory())
    throw new AvjepaError(
      "AVJ_INDEX",
      info ? `${folder} is no folder` : `there is no folder ${folder}`,
    );
  const root = realpathSync(folder);
  const entries = list(root);
  const loose = entries.files.filter(isMedia);
  const found = entries.folders.map((name) => ({
    name,
    paths: walk(join(root, name), [root], isMedia),
  }));
  const classes = found.filter(({ paths }) => paths.length > 0);
  if (classes.length > 0 && loose.length > 0)
    throw new AvjepaError(
      "AVJ_INDEX",
      `${folder} has ${classes.length} classes and, beside them, ${loose.length} media files of no class, such as ${loose[0]}`,
      { hint: "move these into a sub-folder, or index a sub-folder alone" },
    );
  if (loose.length > 0)
    classes.push({
      name: basename(root),
      paths: loose.map((name) => join(root, name)),
    });
  if (classes.length === 0)
    throw new AvjepaError(
      "AVJ_INDEX",
      `there are no media files in ${folder}`,
      {
        hint: `looked for ${[...extensions].slice(0, 6).join(", ")}, … in it and its sub-folders`,
      },
    );
  const notices = found
    .filter(({ paths }) => paths.length === 0)
    .map(({ name }) => `${name}/ has no media files and is no class`);
  // As given, not resolved: the index and its files may be moved together.
  const base = resolve(dirname(output));
  const lines = classes.flatMap(({ paths }, label) =>
    paths.map((path) => line(indexPath(base, folder, root, path), label)),
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

/** Names in a folder in the order of their code units; links count as what they lead to. */
function list(folder: string): { files: string[]; folders: string[] } {
  const files: string[] = [];
  const folders: string[] = [];
  for (const name of namesIn(folder)) {
    if (name.startsWith(".")) continue;
    const info = statSync(join(folder, name), { throwIfNoEntry: false });
    if (info?.isDirectory()) folders.push(name);
    else if (info?.isFile()) files.push(name);
  }
  return { files, folders };
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (cause) {
    throw new AvjepaError(
      "AVJ_INDEX",
      `cannot list ${folder}: ${(cause as Error).message}`,
      { cause, hint: "give yourself the right to read it, or move it away" },
    );
  }
}

/** Media files below a folder; a link to a folder above is not followed. */
function walk(
  folder: string,
  above: readonly string[],
  isMedia: (name: string) => boolean,
): string[] {
  const real = realpathSync(folder);
  if (above.includes(real)) return [];
  const { files, folders } = list(folder);
  return [
    ...files.filter(isMedia).map((name) => join(folder, name)),
    ...folders.flatMap((name) =>
      walk(join(folder, name), [...above, real], isMedia),
    ),
  ];
}

function indexPath(
  base: string,
  folder: string,
  root: string,
  path: string,
): string {
  const given = join(resolve(folder), relative(root, path));
  return relative(base, given).replaceAll("\\", "/");
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

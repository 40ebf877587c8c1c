/** Folders of media files: which there are, and of which class. */

import { readdirSync, realpathSync, statSync } from "node:fs";
import { basename, extname, join } from "node:path";

import { AvjepaError } from "@avjepa/core";

/** Files of one class. */
export interface MediaClass {
  name: string;
  /** Absolute. */
  paths: string[];
}

/** What a folder holds. */
export interface MediaFolder {
  /** In alphabetical order; those without files are left out. */
  classes: MediaClass[];
  /** What the user should know, a line each. */
  notices: string[];
}

/**
 * Looks through a folder: each of its sub-folders is a class, with the media
 * files at any depth below; files without sub-folders are all of one class.
 * Hidden files are left out, links count as what they lead to, and a link to a
 * folder above is not followed.
 *
 * @param extensions of the files that are looked for, in small letters.
 *
 * @throws AvjepaError AVJ_INDEX when there are no media files, some lie beside
 *   the classes, or a folder may not be read.
 */
export function readMediaFolder(
  folder: string,
  extensions: ReadonlySet<string>,
): MediaFolder {
  const info = tolerantStat(folder);
  if (!info?.isDirectory())
    throw new AvjepaError(
      "AVJ_INDEX",
      info ? `${folder} is no folder` : `there is no folder ${folder}`,
      { hint: "name the folder that holds the media files" },
    );
  const root = realpathSync(folder);
  const search = new Search(extensions);
  const { files: loose, folders } = search.list(root);
  const found = folders.map((name) => ({
    name,
    paths: search.below(join(root, name), [root]),
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
  const empty = found.filter(({ paths }) => paths.length === 0);
  return {
    classes,
    notices: [
      ...empty.map(({ name }) => `${name}/ has no media files and is no class`),
      ...leftOut(search.lost),
    ],
  };
}

/** A class that lies on a disk that is not there must not go unseen; ten thousand files of it may be told as one. */
function leftOut(lost: readonly string[]): string[] {
  const [first] = lost;
  if (first === undefined) return [];
  return lost.length === 1
    ? [`${first} leads nowhere and is left out`]
    : [`${lost.length} links lead nowhere and are left out, such as ${first}`];
}

/** One look through a folder. */
class Search {
  readonly #extensions: ReadonlySet<string>;
  /** Links to what is not there, or to each other. */
  readonly lost: string[] = [];

  constructor(extensions: ReadonlySet<string>) {
    this.#extensions = extensions;
  }

  /** Names in a folder, in the order of their code units: media files, and folders. */
  list(folder: string): { files: string[]; folders: string[] } {
    const files: string[] = [];
    const folders: string[] = [];
    for (const name of namesIn(folder)) {
      if (name.startsWith(".")) continue;
      const path = join(folder, name);
      const info = tolerantStat(path);
      if (info === null) this.lost.push(path);
      else if (info.isDirectory()) folders.push(name);
      else if (info.isFile() && this.#isMedia(name)) files.push(name);
    }
    return { files, folders };
  }

  /** Media files below a folder, at any depth. */
  below(folder: string, above: readonly string[]): string[] {
    const real = realpathSync(folder);
    if (above.includes(real)) return [];
    const { files, folders } = this.list(folder);
    return [
      ...files.map((name) => join(folder, name)),
      ...folders.flatMap((name) =>
        this.below(join(folder, name), [...above, real]),
      ),
    ];
  }

  #isMedia(name: string): boolean {
    return this.#extensions.has(extname(name).slice(1).toLowerCase());
  }
}

/** Null for a link that leads nowhere, or round in a circle. */
function tolerantStat(path: string) {
  try {
    return statSync(path);
  } catch {
    return null;
  }
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

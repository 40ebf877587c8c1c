/** The samples an evaluation is about: an index file, or a folder of class folders. */

import { AvjepaError, native } from "@avjepa/core";
import { makeIndex, mediaExtensions, readIndex } from "@avjepa/data";
import type { LabelledIndex } from "@avjepa/evals";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, normalize, relative, resolve } from "node:path";

/** An index that a loader can open, and its labels. */
export interface EvalIndex extends LabelledIndex {
  /** The index file. */
  file: string;
  fingerprint: string;
  /** Names of the classes, where they are folders. */
  classes: readonly string[] | null;
  /** Names of the samples' folds, where the index has a column of them. */
  folds: readonly string[] | null;
  notices: readonly string[];
}

/** What an index has beyond a path and a label a line. */
export interface IndexColumns {
  /** Several labels, `3;17;40`. */
  multiLabel?: boolean;
  /** The fold, in the end. */
  foldColumn?: boolean;
  /** Of the files that are looked for in a folder. */
  extensions?: ReadonlySet<string>;
}

/**
 * Reads what a configuration names.
 *
 * @param work folder for indexes that are made on the way.
 * @throws AvjepaError AVJ_INDEX, AVJ_LABEL
 */
export async function openIndex(
  name: string,
  work: string,
  as: string,
  columns: IndexColumns = {},
): Promise<EvalIndex> {
  const { extensions = mediaExtensions } = columns;
  if (!existsSync(name))
    throw new AvjepaError("AVJ_INDEX", `there is no index or folder ${name}`, {
      hint: "`bun run index DIR -o index.csv` makes an index of a folder",
    });
  const isFolder = statSync(name).isDirectory();
  const further = columns.foldColumn ? "fold_column" : "multi_label";
  if (columns.multiLabel || columns.foldColumn) {
    if (isFolder || name.toLowerCase().endsWith(".npy"))
      throw new AvjepaError(
        "AVJ_INDEX",
        `${name} is ${isFolder ? "a folder" : "a list of paths alone"}, but data.${further} needs an index`,
        {
          hint: "an index is a text file: a path, its label or labels such as 3;17, and the fold with data.fold_column",
        },
      );
    return splitColumns(name, join(work, `${as}.csv`), columns);
  }
  const file = isFolder ? join(work, `${as}.csv`) : name;
  const made = isFolder
    ? await makeIndex(name, file, { extensions, paths: "absolute" })
    : null;
  const lines = readIndex(file);
  return {
    name,
    file,
    paths: lines.paths.map((path) => normalize(path)),
    labels: Array.from(lines.labels),
    fingerprint: lines.fingerprint,
    classes: made?.classes.map((c) => c.name) ?? null,
    folds: null,
    notices: made?.notices.map((text) => `${name}: ${text}`) ?? [],
  };
}

/** Lines `path 3;17;40 5`: an index of the paths, and their labels and folds. */
function splitColumns(
  name: string,
  file: string,
  { multiLabel = false, foldColumn = false }: IndexColumns,
): EvalIndex {
  const labels: number[][] = [];
  const folds: string[] = [];
  const labelled = multiLabel
    ? /^(.*[\s,])(\d*(?:;\d+)*)\s*$/
    : /^(.*[\s,])(\d+)\s*$/;
  const folded = /^(.*?)(?:\s*,\s*|\s+)([^\s,]+)\s*$/;
  const expected = [
    "a path",
    multiLabel ? "labels such as 3;17;40" : "a label",
    ...(foldColumn ? ["a fold"] : []),
  ];
  const lines = readFileSync(name, "utf8")
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/);
  const plain = lines.flatMap((line, i) => {
    if (line.trim() === "") return [];
    const [, rest = "", fold = ""] = foldColumn
      ? (folded.exec(line) ?? [])
      : [line, line];
    const found = labelled.exec(rest);
    if (!found)
      throw new AvjepaError(
        "AVJ_INDEX",
        `${name}:${i + 1}: expected ${expected.join(", ")}, found ${JSON.stringify(line)}`,
      );
    folds.push(fold);
    labels.push(found[2] === "" ? [] : found[2]!.split(";").map(Number));
    return [`${found[1]}0\n`];
  });
  // Paths are relative to the index: first where it is, then from where the plain one lies.
  writeFileSync(file, plain.join(""));
  const here = resolve(dirname(file));
  const paths = readIndex(file).paths.map((path) =>
    resolve(dirname(name), relative(here, resolve(path))),
  );
  writeFileSync(
    file,
    paths.map((path) => native.mediaIndexLine(path, 0)).join(""),
  );
  const { fingerprint } = readIndex(file);
  return {
    name,
    file,
    paths,
    labels: multiLabel ? labels : labels.map(([label]) => label!),
    fingerprint: `${fingerprint}-${Bun.hash(JSON.stringify([labels, folds])).toString(16)}`,
    classes: null,
    folds: foldColumn ? folds : null,
    notices: [],
  };
}

/**
 * Gives the test set's classes the numbers of the training set's, where both
 * are folders.
 *
 * @throws AvjepaError AVJ_LABEL for a class that training does not have.
 */
export function alignClasses(train: EvalIndex, val: EvalIndex): EvalIndex {
  if (train.classes === null || val.classes === null) return val;
  const numbers = new Map(train.classes.map((name, i) => [name, i]));
  const unknown = val.classes.find((name) => !numbers.has(name));
  if (unknown !== undefined)
    throw new AvjepaError(
      "AVJ_LABEL",
      `${val.name} has the class ${unknown}, which ${train.name} does not have`,
      {
        hint: "no probe can know a class that it was never shown: remove the folder, or add it to the training set",
      },
    );
  return {
    ...val,
    labels: (val.labels as readonly number[]).map((label) =>
      numbers.get(val.classes![label]!)!,
    ),
  };
}

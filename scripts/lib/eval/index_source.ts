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
  notices: readonly string[];
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
  multiLabel: boolean,
  extensions: ReadonlySet<string> = mediaExtensions,
): Promise<EvalIndex> {
  if (!existsSync(name))
    throw new AvjepaError("AVJ_INDEX", `there is no index or folder ${name}`, {
      hint: "`bun run index DIR -o index.csv` makes an index of a folder",
    });
  const isFolder = statSync(name).isDirectory();
  if (isFolder && multiLabel)
    throw new AvjepaError(
      "AVJ_INDEX",
      `${name} is a folder, but data.multi_label needs an index with several labels a line`,
    );
  if (multiLabel) return splitLabels(name, join(work, `${as}.csv`));
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
    notices: made?.notices.map((text) => `${name}: ${text}`) ?? [],
  };
}

/** Lines `path 3;17;40`: an index without the labels, and the labels. */
function splitLabels(name: string, file: string): EvalIndex {
  const labels: number[][] = [];
  const lines = readFileSync(name, "utf8")
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/);
  const plain = lines.flatMap((line, i) => {
    if (line.trim() === "") return [];
    const found = /^(.*[\s,])(\d*(?:;\d+)*)\s*$/.exec(line);
    if (!found)
      throw new AvjepaError(
        "AVJ_INDEX",
        `${name}:${i + 1}: expected a path and labels such as 3;17;40, found ${JSON.stringify(line)}`,
      );
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
    labels,
    fingerprint: `${fingerprint}-${Bun.hash(JSON.stringify(labels)).toString(16)}`,
    classes: null,
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

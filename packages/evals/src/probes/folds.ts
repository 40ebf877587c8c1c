/** Parts of a set for cross-validation. */

import { AvjepaError } from "@avjepa/core";
import { RandomStream } from "@avjepa/data";

/**
 * The fold of each sample, from 0: folds of each class alike, by lot.
 *
 * @throws AvjepaError AVJ_DATA when there are fewer samples than folds.
 */
export function stratifiedFolds(
  labels: ArrayLike<number>,
  folds: number,
  seed: number,
): Int32Array {
  if (labels.length < folds)
    throw new AvjepaError(
      "AVJ_DATA",
      `${labels.length} samples cannot be cut into ${folds} folds`,
      { hint: "set data.folds to at most the number of samples" },
    );
  const order = new RandomStream("numpy", seed).draw("permutation", [
    labels.length,
  ]);
  const fold = new Int32Array(labels.length);
  // One class after another, dealt out like cards: each class is spread
  // evenly, and the folds differ by one sample at most.
  const dealt = Array.from(order).sort((a, b) => labels[a]! - labels[b]!);
  dealt.forEach((sample, i) => (fold[sample] = i % folds));
  return fold;
}

/**
 * The fold of each sample, from what a pattern's first group finds in its
 * file's name.
 *
 * @throws AvjepaError AVJ_DATA for a name that does not match, or another number of folds.
 */
export function namedFolds(
  paths: readonly string[],
  pattern: string,
  folds: number,
): Int32Array {
  let expression: RegExp;
  try {
    expression = new RegExp(pattern);
  } catch (cause) {
    throw new AvjepaError(
      "AVJ_CONFIG",
      `data.fold_pattern ${pattern} is no regular expression: ${(cause as Error).message}`,
      { cause },
    );
  }
  const found = paths.map((path) => {
    const name = path.slice(path.lastIndexOf("/") + 1);
    const group = expression.exec(name)?.[1];
    if (group === undefined)
      throw new AvjepaError(
        "AVJ_DATA",
        `data.fold_pattern ${pattern} finds no fold in ${name}`,
        { hint: "it needs a group, such as ^(\\d)-" },
      );
    return group;
  });
  return numberedFolds(found, folds, "data.fold_pattern");
}

/**
 * The fold of each sample, from 0, of its fold's name.
 *
 * @param source what found the names.
 * @throws AvjepaError AVJ_DATA for another number of folds.
 */
export function numberedFolds(
  found: readonly string[],
  folds: number,
  source: string,
): Int32Array {
  const names = [...new Set(found)].sort();
  if (names.length !== folds)
    throw new AvjepaError(
      "AVJ_DATA",
      `${source} finds ${names.length} folds (${names.slice(0, 8).join(", ")}), but data.folds is ${folds}`,
      { hint: `set data.folds to ${names.length}, or correct the index` },
    );
  const numbers = new Map(names.map((name, i) => [name, i]));
  return Int32Array.from(found, (name) => numbers.get(name)!);
}

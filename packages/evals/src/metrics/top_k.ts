/** Top-k accuracy as whole counts. */

import { AvjepaError } from "@avjepa/core";

/**
 * Classes that come before the label: of a greater score, or of the same and a
 * smaller number. A label is among the k best when fewer than k come before it.
 * A score that is not a number beats nothing, and a label with one is never right.
 */
export function rankOfLabel(scores: ArrayLike<number>, label: number): number {
  const own = scores[label] as number;
  if (Number.isNaN(own)) return scores.length;
  let before = 0;
  for (let c = 0; c < scores.length; c++) {
    const score = scores[c] as number;
    if (score > own || (score === own && c < label)) before++;
  }
  return before;
}

/** The class of the greatest score; of several, the first. */
export function predictedClass(scores: ArrayLike<number>): number {
  let best = 0;
  for (let c = 1; c < scores.length; c++) {
    const [score, held] = [scores[c] as number, scores[best] as number];
    if (score > held || (Number.isNaN(held) && !Number.isNaN(score))) best = c;
  }
  return best;
}

/**
 * Samples whose label is among their k greatest scores.
 *
 * @param scores `[n, classes]`, row-major.
 * @returns a count for each of `ks`; with fewer classes than k, all are right.
 * @throws AvjepaError AVJ_METRIC for scores that do not divide into rows, or a label out of range.
 * @example countTopK([0.1, 0.9], [1], 2, [1]); // [1]
 */
export function countTopK(
  scores: ArrayLike<number>,
  labels: ArrayLike<number>,
  classes: number,
  ks: readonly number[],
): number[] {
  const counter = new TopKCounter(classes, ks);
  counter.add(scores, labels);
  return [...counter.right];
}

/** Counts over any number of batches. */
export class TopKCounter {
  /** Samples so far. */
  total = 0;
  /** Right among the k best, for each of {@link ks}. */
  readonly right: number[];

  constructor(
    readonly classes: number,
    readonly ks: readonly number[] = [1, 5],
  ) {
    this.right = ks.map(() => 0);
  }

  /** @param scores `[n, classes]` @param labels `[n]` */
  add(scores: ArrayLike<number>, labels: ArrayLike<number>): void {
    checkRows(scores, labels.length, this.classes);
    for (let i = 0; i < labels.length; i++) {
      const label = labels[i] as number;
      checkLabel(label, this.classes, i);
      const rank = rankOfLabel(row(scores, i, this.classes), label);
      for (const [j, k] of this.ks.entries()) if (rank < k) this.right[j]!++;
    }
    this.total += labels.length;
  }

  /** Per cent right among the k best; NaN without samples. */
  percent(k: number): number {
    const right = this.right[this.ks.indexOf(k)];
    if (right === undefined)
      throw new AvjepaError("AVJ_METRIC", `top-${k} was not counted`, {
        hint: `counted are ${this.ks.join(", ")}`,
      });
    return (100 * right) / this.total;
  }
}

/** Row i of `[n, width]`. */
export function row(
  values: ArrayLike<number>,
  i: number,
  width: number,
): ArrayLike<number> {
  return Array.prototype.slice.call(values, i * width, (i + 1) * width);
}

/** @throws AvjepaError AVJ_METRIC */
export function checkRows(
  values: ArrayLike<number>,
  rows: number,
  width: number,
): void {
  if (!Number.isInteger(width) || width < 1 || values.length !== rows * width)
    throw new AvjepaError(
      "AVJ_METRIC",
      `${values.length} scores are not ${rows} rows of ${width}`,
    );
}

/** @throws AvjepaError AVJ_METRIC */
export function checkLabel(label: number, classes: number, at: number): void {
  if (!Number.isInteger(label) || label < 0 || label >= classes)
    throw new AvjepaError(
      "AVJ_METRIC",
      `the label of sample ${at} is ${label}, but there are ${classes} classes (0 to ${classes - 1})`,
    );
}

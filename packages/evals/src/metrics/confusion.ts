/** What was taken for what. */

import { checkLabel, checkRows } from "./top_k.ts";

/**
 * Counts `[classes, classes]`: row the label, column the prediction.
 *
 * @throws AvjepaError AVJ_METRIC for a label or prediction out of range.
 */
export function confusionMatrix(
  labels: ArrayLike<number>,
  predictions: ArrayLike<number>,
  classes: number,
): Uint32Array {
  checkRows(predictions, labels.length, 1);
  const counts = new Uint32Array(classes * classes);
  for (let i = 0; i < labels.length; i++) {
    const [label, predicted] = [labels[i] as number, predictions[i] as number];
    checkLabel(label, classes, i);
    checkLabel(predicted, classes, i);
    counts[label * classes + predicted]!++;
  }
  return counts;
}

/** One class's share of a {@link confusionMatrix}. */
export interface ClassRate {
  class: number;
  /** Samples of the class, predictions of it, and both at once. */
  samples: number;
  predicted: number;
  right: number;
  /** `right / samples`; NaN without samples. */
  recall: number;
  /** `right / predicted`; NaN without predictions. */
  precision: number;
}

export function classRates(
  matrix: ArrayLike<number>,
  classes: number,
): ClassRate[] {
  checkRows(matrix, classes, classes);
  return Array.from({ length: classes }, (_, c) => {
    let [samples, predicted] = [0, 0];
    for (let other = 0; other < classes; other++) {
      samples += matrix[c * classes + other] as number;
      predicted += matrix[other * classes + c] as number;
    }
    const right = matrix[c * classes + c] as number;
    return {
      class: c,
      samples,
      predicted,
      right,
      recall: right / samples,
      precision: right / predicted,
    };
  });
}

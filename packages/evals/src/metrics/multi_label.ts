/** Figures of samples that may have several classes each. */

import { type AveragePrecision, precisionOf } from "./average_precision.ts";
import { areaOf, dPrime } from "./roc.ts";
import { scoreSteps } from "./steps.ts";
import { checkRows } from "./top_k.ts";

/** Over the classes that have a positive; areas and d′ also need a negative. */
export interface MultiLabelMetrics {
  averagePrecision: AveragePrecision;
  /** Area under the curve of each of `averagePrecision.classes`; NaN for a class without a negative. */
  auc: number[];
  /** Means over the classes that have one. */
  meanAuc: number;
  dPrime: number;
}

/**
 * @param scores `[n, classes]`, row-major; greater is likelier.
 * @param labels `[n, classes]`, 1 where the sample has the class.
 * @throws AvjepaError AVJ_METRIC when their sizes differ.
 */
export function multiLabelMetrics(
  scores: ArrayLike<number>,
  labels: ArrayLike<number>,
  classes: number,
): MultiLabelMetrics {
  const samples = labels.length / classes;
  checkRows(labels, Math.floor(samples), classes);
  checkRows(scores, samples, classes);
  const used: number[] = [];
  const values: number[] = [];
  const auc: number[] = [];
  for (let c = 0; c < classes; c++) {
    const column = (of: ArrayLike<number>) =>
      Float64Array.from({ length: samples }, (_, i) => of[i * classes + c]!);
    const positive = column(labels);
    if (!positive.includes(1)) continue;
    const steps = scoreSteps(column(scores), positive);
    used.push(c);
    values.push(precisionOf(steps));
    auc.push(areaOf(steps));
  }
  const whole = auc.filter((value) => !Number.isNaN(value));
  return {
    averagePrecision: { classes: used, values, mean: mean(values) },
    auc,
    meanAuc: mean(whole),
    dPrime: mean(whole.map(dPrime)),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

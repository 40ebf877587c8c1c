/** What probes say of samples, kept small: data sets have up to ten thousand classes. */

import { predictedClass, rankOfLabel } from "../metrics/top_k.ts";
import type { TokenSet } from "../tokens/token_set.ts";
import type { ProbeGrid } from "./probe_grid.ts";
import type { Labels } from "./train_probes.ts";

/** Of each sample of a set. */
export interface Predictions {
  classes: number;
  /** `[samples]` classes that come before the right one; ties go to the lower class. Of samples with one label. */
  ranks: Int32Array;
  /** `[samples]` the class that comes first. */
  predicted: Int32Array;
  /** `[samples, classes]` probabilities, of samples with several labels; else null. */
  scores: Float32Array | null;
}

/** Room for the predictions of so many samples. */
export function emptyPredictions(
  samples: number,
  classes: number,
  multiLabel: boolean,
): Predictions {
  return {
    classes,
    ranks: new Int32Array(samples),
    predicted: new Int32Array(samples),
    scores: multiLabel ? new Float32Array(samples * classes) : null,
  };
}

/**
 * Enters the scores of some samples, from place `at` on.
 *
 * @param scores `[n, classes]` @param labels `[n]`
 */
export function enterScores(
  into: Predictions,
  at: number,
  scores: Float32Array,
  labels: Labels,
): void {
  const { classes } = into;
  labels.forEach((label, i) => {
    const own = scores.subarray(i * classes, (i + 1) * classes);
    into.predicted[at + i] = predictedClass(own);
    if (typeof label === "number") into.ranks[at + i] = rankOfLabel(own, label);
  });
  into.scores?.set(scores.subarray(0, labels.length * classes), at * classes);
}

/** Puts the predictions of some samples among those of all. */
export function scatterPredictions(
  from: Predictions,
  samples: Int32Array,
  into: Predictions,
): void {
  const { classes } = from;
  samples.forEach((sample, i) => {
    into.ranks[sample] = from.ranks[i]!;
    into.predicted[sample] = from.predicted[i]!;
    const own = from.scores?.subarray(i * classes, (i + 1) * classes);
    if (own) into.scores?.set(own, sample * classes);
  });
}

/** How {@link predictAll} goes about it. */
export interface PredictOptions {
  /** Samples at once. */
  batch: number;
  /** Of the grid's probes; default all. */
  only?: readonly number[];
  onBatch?: (done: number) => void;
}

/**
 * Predictions of probes for some samples, in their order: of each sample the
 * mean of the probabilities over its sequences.
 *
 * @param labels of the samples.
 */
export async function predictAll(
  grid: ProbeGrid,
  set: TokenSet,
  samples: ArrayLike<number>,
  labels: Labels,
  options: PredictOptions,
): Promise<Predictions[]> {
  const { classes, multiLabel } = grid;
  const { batch, onBatch } = options;
  const wanted = options.only ?? grid.points.map((_, i) => i);
  const found = wanted.map(() =>
    emptyPredictions(samples.length, classes, multiLabel),
  );
  for (let at = 0; at < samples.length; at += batch) {
    const chosen = Array.prototype.slice.call(samples, at, at + batch);
    const input = set.batch(chosen, grid.device);
    const logits = grid.predict(input, wanted);
    const own = labels.slice(at, at + batch);
    for (const [k, values] of logits.entries()) {
      const rows = (await values.toArray()) as Float32Array;
      values.dispose();
      const scores = new Float32Array(chosen.length * classes);
      addProbabilities(rows, input.sampleOf, classes, multiLabel, scores);
      enterScores(found[k]!, at, scores, own);
    }
    input.tokens.data.dispose();
    input.tokens.offsets.dispose();
    onBatch?.(at + chosen.length);
  }
  return found;
}

/** Adds the mean over a sample's rows of their softmax, or sigmoid. */
export function addProbabilities(
  logits: Float32Array,
  sampleOf: Int32Array,
  classes: number,
  multiLabel: boolean,
  into: Float32Array,
): void {
  const rowsOf = new Map<number, number>();
  for (const sample of sampleOf)
    rowsOf.set(sample, (rowsOf.get(sample) ?? 0) + 1);
  sampleOf.forEach((sample, row) => {
    const own = logits.subarray(row * classes, (row + 1) * classes);
    const share = 1 / rowsOf.get(sample)!;
    const out = into.subarray(sample * classes, (sample + 1) * classes);
    if (multiLabel) {
      own.forEach((x, c) => (out[c]! += share / (1 + Math.exp(-x))));
      return;
    }
    const highest = own.reduce((most, x) => Math.max(most, x), -Infinity);
    let sum = 0;
    for (const x of own) sum += Math.exp(x - highest);
    own.forEach((x, c) => (out[c]! += (share * Math.exp(x - highest)) / sum));
  });
}

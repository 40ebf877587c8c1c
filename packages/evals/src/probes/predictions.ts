/** What probes say of samples. */

import { rankOfLabel } from "../metrics/top_k.ts";
import type { TokenSet } from "../tokens/token_set.ts";
import type { ProbeGrid } from "./probe_grid.ts";

/** Of each sample of a set. */
export interface Predictions {
  classes: number;
  /** `[samples, classes]`: probabilities, the mean over a sample's sequences. */
  scores: Float32Array;
}

/** Scores of every probe for the samples, in their order. */
export async function predictAll(
  grid: ProbeGrid,
  set: TokenSet,
  samples: ArrayLike<number>,
  batch: number,
  options: { only?: readonly number[]; onBatch?: (done: number) => void } = {},
): Promise<Predictions[]> {
  const { classes } = grid;
  const wanted = options.only ?? grid.points.map((_, i) => i);
  const scores = wanted.map(() => new Float32Array(samples.length * classes));
  for (let at = 0; at < samples.length; at += batch) {
    const chosen = Array.prototype.slice.call(samples, at, at + batch);
    const input = set.batch(chosen, grid.device);
    const logits = grid.predict(input, wanted);
    for (const [k, values] of logits.entries()) {
      const rows = (await values.toArray()) as Float32Array;
      addProbabilities(
        rows,
        input.sampleOf,
        classes,
        grid.multiLabel,
        scores[k]!.subarray(at * classes),
      );
      values.dispose();
    }
    input.tokens.data.dispose();
    input.tokens.offsets.dispose();
    options.onBatch?.(at + chosen.length);
  }
  return scores.map((values) => ({ classes, scores: values }));
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

/** How many classes each sample's scores put before its own; ties go to the lower class. */
export function ranksOf(
  { scores, classes }: Predictions,
  labels: ArrayLike<number>,
): Int32Array {
  return Int32Array.from(labels, (label, i) =>
    rankOfLabel(scores.subarray(i * classes, (i + 1) * classes), label),
  );
}

/** k-NN classification by cosine similarity (Wu et al., arXiv 1805.01978): no training at all. */

import { scope, tensor } from "@avjepa/core";

import type { PooledFeatures } from "./pooled.ts";
import {
  emptyPredictions,
  enterScores,
  type Predictions,
} from "./predictions.ts";
import type { Labels } from "./train_probes.ts";

/** Neighbours vote with weight exp(similarity / temperature). */
const temperature = 0.07;
/** Test samples compared at once. */
const chunk = 256;

/**
 * Votes of each test sample's nearest training samples.
 *
 * @param k neighbours; all training samples where there are fewer.
 */
export async function knnPredictions(
  train: PooledFeatures,
  labels: Labels,
  test: PooledFeatures,
  testLabels: Labels,
  options: {
    k: number;
    classes: number;
    multiLabel: boolean;
    device: string;
  },
): Promise<Predictions> {
  const { classes, multiLabel, device } = options;
  const k = Math.min(options.k, train.samples);
  const votes = emptyPredictions(test.samples, classes, multiLabel);
  const { dim } = train;
  const bank = tensor(normalised(train), [train.samples, dim], { device });
  const queries = normalised(test);
  try {
    for (let at = 0; at < test.samples; at += chunk) {
      const count = Math.min(chunk, test.samples - at);
      const part = queries.subarray(at * dim, (at + count) * dim);
      const found = scope(() =>
        tensor(part, [count, dim], { device }).matmul(bank, {
          transpose: true,
        }),
      );
      const similarity = (await found.toArray()) as Float32Array;
      found.dispose();
      const scores = new Float32Array(count * classes);
      for (let i = 0; i < count; i++) {
        const row = similarity.subarray(
          i * train.samples,
          (i + 1) * train.samples,
        );
        const out = scores.subarray(i * classes, (i + 1) * classes);
        for (const neighbour of nearest(row, k)) {
          const vote = Math.exp((row[neighbour]! - 1) / temperature);
          for (const label of [labels[neighbour]!].flat()) out[label]! += vote;
        }
      }
      enterScores(votes, at, scores, testLabels.slice(at, at + count));
    }
  } finally {
    bank.dispose();
  }
  return votes;
}

/** Places of the `k` greatest, ties to the first. */
function nearest(row: Float32Array, k: number): number[] {
  const kept: number[] = [];
  for (let i = 0; i < row.length; i++) {
    if (kept.length === k && row[i]! <= row[kept[k - 1]!]!) continue;
    let place = kept.length;
    while (place > 0 && row[kept[place - 1]!]! < row[i]!) place--;
    kept.splice(place, 0, i);
    if (kept.length > k) kept.pop();
  }
  return kept;
}

function normalised({ samples, dim, values }: PooledFeatures): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < samples; i++) {
    let sum = 0;
    for (let d = 0; d < dim; d++) sum += values[i * dim + d]! ** 2;
    const scale = 1 / Math.max(1e-12, Math.sqrt(sum));
    for (let d = 0; d < dim; d++)
      out[i * dim + d] = values[i * dim + d]! * scale;
  }
  return out;
}

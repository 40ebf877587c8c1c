/** Linear probes on the mean of the tokens: how much can be read without attention. */

import {
  binaryCrossEntropy,
  crossEntropy,
  Generator,
  nn,
  noGrad,
  optim,
  scope,
  type Tensor,
  tensor,
} from "@avjepa/core";
import { RandomStream } from "@avjepa/data";

import {
  addProbabilities,
  emptyPredictions,
  enterScores,
  type Predictions,
} from "./predictions.ts";
import {
  type PooledFeatures,
  standardisation,
  standardised,
} from "./pooled.ts";
import type { Labels } from "./train_probes.ts";

/** How linear probes are trained: a grid of learning rates on standardised features. */
export interface LinearProbeOptions {
  classes: number;
  multiLabel: boolean;
  seed: number;
  device: string;
  /** Of AdamW, cosine to 0; default 1e-3, 3e-3, 1e-2. */
  lr?: readonly number[];
  /** Default 100. */
  epochs?: number;
  /** Asked between steps: true gives the training up. */
  stopped?: () => boolean;
  onStep?: (done: number, steps: number) => void;
}

const weightDecay = 1e-4;
const batchSize = 256;
/** Steps below which even small data are not left, and above which large ones are not kept. */
const bounds = [200, 20_000] as const;

/** Features to be tested with. */
export interface LabelledFeatures {
  features: PooledFeatures;
  labels: Labels;
}

/**
 * Trains a linear layer for each learning rate, and says what each makes of
 * the other sets.
 *
 * @param tests sets to be scored.
 * @returns by learning rate, by set; null when it was stopped.
 */
export async function trainLinearProbes(
  train: PooledFeatures,
  labels: Labels,
  tests: readonly LabelledFeatures[],
  options: LinearProbeOptions,
): Promise<{ lr: number; predictions: Predictions[] }[] | null> {
  const { classes, device, seed, lr = [1e-3, 3e-3, 1e-2] } = options;
  const { epochs = 100, onStep, stopped } = options;
  const norm = standardisation(train);
  const x = standardised(train, norm);
  const perEpoch = Math.ceil(train.samples / batchSize);
  const steps = Math.min(bounds[1], Math.max(bounds[0], perEpoch * epochs));
  const layers = lr.map(
    () =>
      new nn.Linear(train.dim, classes, {
        generator: new Generator(seed),
        std: 0.01,
        device,
      }),
  );
  const optimizers = layers.map((layer) => new optim.AdamW([layer]));
  try {
    const stream = new RandomStream("numpy", seed);
    let order: ArrayLike<number> = [];
    for (let step = 0; step < steps; step++) {
      if (stopped?.()) return null;
      const at = (step % perEpoch) * batchSize;
      if (at === 0) order = stream.draw("permutation", [train.samples]);
      const chosen = Array.prototype.slice.call(order, at, at + batchSize);
      const losses = scope(() => {
        const input = rowsOf(x, chosen, device);
        const targets = targetsOf(labels, chosen, options);
        return layers.map((layer, i) => {
          const logits = layer.forward(input);
          const loss = targets.ints
            ? crossEntropy(logits, targets.values).mean()
            : binaryCrossEntropy(logits, targets.values).mean();
          loss.backward();
          const decay = 0.5 * (1 + Math.cos((Math.PI * step) / steps));
          optimizers[i]!.step({ lr: lr[i]! * decay, wd: weightDecay });
          return loss;
        });
      });
      // The queue is let run dry now and then, so that it does not hold many batches.
      if (step % 16 === 0) await losses[0]!.item();
      for (const loss of losses) loss.dispose();
      onStep?.(step + 1, steps);
    }
    const results: { lr: number; predictions: Predictions[] }[] = [];
    for (const [i, layer] of layers.entries()) {
      const predictions: Predictions[] = [];
      for (const { features, labels: own } of tests)
        predictions.push(
          await predict(layer, standardised(features, norm), own, options),
        );
      results.push({ lr: lr[i]!, predictions });
    }
    return results;
  } finally {
    for (const adamw of optimizers) adamw.dispose();
    for (const layer of layers) layer.dispose();
  }
}

async function predict(
  layer: nn.Linear,
  x: PooledFeatures,
  labels: Labels,
  { classes, multiLabel, device }: LinearProbeOptions,
): Promise<Predictions> {
  const found = emptyPredictions(x.samples, classes, multiLabel);
  for (let at = 0; at < x.samples; at += 1024) {
    const count = Math.min(1024, x.samples - at);
    const chosen = Array.from({ length: count }, (_, i) => at + i);
    const logits = scope(() =>
      noGrad(() => layer.forward(rowsOf(x, chosen, device))),
    );
    const own = Int32Array.from(chosen, (_, i) => i);
    const rows = (await logits.toArray()) as Float32Array;
    logits.dispose();
    const scores = new Float32Array(count * classes);
    addProbabilities(rows, own, classes, multiLabel, scores);
    enterScores(found, at, scores, labels.slice(at, at + count));
  }
  return found;
}

function rowsOf(
  { dim, values }: PooledFeatures,
  chosen: readonly number[],
  device: string,
): Tensor {
  const rows = new Float32Array(chosen.length * dim);
  chosen.forEach((i, row) =>
    rows.set(values.subarray(i * dim, (i + 1) * dim), row * dim),
  );
  return tensor(rows, [chosen.length, dim], { device });
}

function targetsOf(
  labels: Labels,
  chosen: readonly number[],
  { classes, multiLabel, device }: LinearProbeOptions,
): { ints: boolean; values: Tensor } {
  if (!multiLabel) {
    const own = Int32Array.from(chosen, (i) => labels[i] as number);
    return { ints: true, values: tensor(own, [own.length], { device }) };
  }
  const targets = new Float32Array(chosen.length * classes);
  chosen.forEach((i, row) => {
    for (const label of labels[i] as readonly number[])
      targets[row * classes + label] = 1;
  });
  const shape = [chosen.length, classes];
  return { ints: false, values: tensor(targets, shape, { device }) };
}

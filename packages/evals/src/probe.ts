/**
 * Attentive probes: what can be read from frozen features by one query's
 * cross-attention, an MLP and a linear layer (Bardes et al., arXiv 2404.08471).
 */

import {
  crossEntropy,
  noGrad,
  optim,
  scope,
  type Tensor,
  tensor,
} from "@avjepa/core";
import { RandomStream } from "@avjepa/data";
import { AttentiveClassifier } from "@avjepa/models";

import { type Features, featuresOf } from "./features.ts";

/** A question to the features. */
export interface ProbeTask {
  name: string;
  classes: number;
  /** `[clips]` answers. */
  train: ArrayLike<number>;
  test: ArrayLike<number>;
}

/** How probes are trained. */
export interface ProbeOptions {
  epochs: number;
  batch: number;
  /** Falls by a cosine to 0. */
  lr: number;
  weightDecay: number;
  numHeads: number;
  seed?: number;
  device?: string;
  /** Called with the fraction of steps done. */
  onStep?: (fraction: number) => void;
}

/**
 * Trains a probe for each task on the same features, all at once, and tests it.
 *
 * @returns the fraction of test clips answered rightly, by task.
 */
export async function trainProbes(
  train: Features,
  test: Features,
  tasks: readonly ProbeTask[],
  options: ProbeOptions,
): Promise<Record<string, number>> {
  const { epochs, batch, lr, weightDecay, numHeads, seed = 0 } = options;
  const { device = "cpu", onStep } = options;
  const probes = tasks.map(
    ({ classes }) =>
      new AttentiveClassifier({
        dim: train.dim,
        numHeads,
        classes,
        seed,
        device,
      }),
  );
  const adamw = new optim.AdamW(probes);
  const perEpoch = Math.ceil(train.clips / batch);
  const steps = epochs * perEpoch;
  const shuffle = new RandomStream("numpy", seed);
  let order: ArrayLike<number> = [];
  for (let step = 0; step < steps; step++) {
    const at = (step % perEpoch) * batch;
    if (at === 0) order = shuffle.draw("permutation", [train.clips]);
    const clips = Array.prototype.slice.call(order, at, at + batch);
    const loss = scope(() => {
      const x = featuresOf(train, clips, device);
      const losses = tasks.map((task, i) =>
        crossEntropy(
          probes[i]!.forward(x),
          labelsOf(task.train, clips, device),
        ).mean(),
      );
      const total = losses.reduce((sum, one) => sum.add(one));
      total.backward();
      adamw.step({
        lr: (lr / 2) * (1 + Math.cos((Math.PI * step) / steps)),
        wd: weightDecay,
      });
      return total;
    });
    // The queue is let run dry now and then, so that it does not hold many batches.
    if (step % 8 === 0) await loss.item();
    loss.dispose();
    onStep?.((step + 1) / steps);
  }
  const right = await countRight(probes, test, tasks, batch, device);
  for (const probe of probes) probe.dispose();
  adamw.dispose();
  return Object.fromEntries(
    tasks.map(({ name }, i) => [name, right[i]! / test.clips]),
  );
}

/** Clips answered rightly, by task. */
async function countRight(
  probes: readonly AttentiveClassifier[],
  test: Features,
  tasks: readonly ProbeTask[],
  batch: number,
  device: string,
): Promise<number[]> {
  const right = tasks.map(() => 0);
  for (let at = 0; at < test.clips; at += batch) {
    const clips = Int32Array.from(
      { length: Math.min(batch, test.clips - at) },
      (_, i) => at + i,
    );
    const logits = scope(() => {
      const x = featuresOf(test, clips, device);
      return noGrad(() => probes.map((probe) => probe.forward(x)));
    });
    for (const [i, scores] of logits.entries()) {
      const values = await scores.toNumbers();
      const classes = tasks[i]!.classes;
      clips.forEach((clip, row) => {
        const own = values.slice(row * classes, (row + 1) * classes);
        if (greatest(own) === tasks[i]!.test[clip]) right[i]! += 1;
      });
      scores.dispose();
    }
  }
  return right;
}

function labelsOf(
  labels: ArrayLike<number>,
  clips: ArrayLike<number>,
  device: string,
): Tensor {
  const chosen = Int32Array.from(clips, (clip) => labels[clip]!);
  return tensor(chosen, [chosen.length], { device });
}

function greatest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++)
    if (values[i]! > values[best]!) best = i;
  return best;
}

/** A linear probe and k-NN on the mean of the tokens, beside the attentive probes. */

import {
  knnPredictions,
  type Labels,
  pooledOf,
  type Split,
  type TokenSet,
  trainLinearProbes,
} from "@avjepa/evals";

import type { EvalContext } from "./context.ts";
import { type Figures, figuresOf, scoreOf } from "./report.ts";

/** Figures by kind of probe. */
export type SimpleResults = Partial<Record<"linear" | "knn", Figures>>;

/** What they are trained on and tested with. */
export interface SimpleTask {
  name: string;
  train: TokenSet;
  trainLabels: Labels;
  split: Split;
  val: TokenSet;
  valLabels: Labels;
}

/** @returns null when it was stopped. */
export async function runSimpleProbes(
  { config, device, stages, stop }: EvalContext,
  task: SimpleTask,
): Promise<SimpleResults | null> {
  const { data, meta, probe } = config;
  const classes = data.num_classes!;
  const multiLabel = data.multi_label;
  const { split, trainLabels, valLabels } = task;
  const val = pooledOf(task.val);
  const results: SimpleResults = {};
  if (probe.linear) {
    stages.begin(`${task.name}, linear`, "steps");
    const pick = (samples: Int32Array): Labels =>
      Array.from(samples, (i) => trainLabels[i]!);
    const heldOut = pooledOf(task.train, split.heldOut);
    const trained = await trainLinearProbes(
      pooledOf(task.train, split.train),
      pick(split.train),
      [heldOut, val],
      {
        classes,
        multiLabel,
        seed: meta.seed,
        device,
        // Without a held-out part nothing may choose.
        ...(split.heldOut.length === 0 ? { lr: [3e-3] } : {}),
        stopped: () => stop.signal !== undefined,
        onStep: (done, steps) => stages.at(done, steps),
      },
    );
    if (trained === null) return null;
    const scores = trained.map(({ predictions }) =>
      split.heldOut.length === 0
        ? 0
        : scoreOf(predictions[0]!, pick(split.heldOut)),
    );
    const best = scores.indexOf(Math.max(...scores));
    const { lr, predictions } = trained[best]!;
    results.linear = {
      ...figuresOf(predictions[1]!, valLabels, multiLabel),
      lr,
    };
  }
  if (probe.knn > 0) {
    const k = Math.min(probe.knn, task.train.samples);
    const found = await knnPredictions(
      pooledOf(task.train),
      trainLabels,
      val,
      { k, classes, device },
    );
    results.knn = { ...figuresOf(found, valLabels, multiLabel), k };
  }
  return results;
}

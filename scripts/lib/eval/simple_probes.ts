/** A linear probe and k-NN on the mean of the tokens, beside the attentive probes. */

import {
  knnPredictions,
  type Labels,
  pooledOf,
  type Predictions,
  type Split,
  type TokenSet,
  trainLinearProbes,
} from "@avjepa/evals";

import type { EvalContext } from "./context.ts";
import { type Figures, scoreOf } from "./report.ts";

/** What they are trained on and tested with. */
export interface SimpleTask {
  name: string;
  train: TokenSet;
  trainLabels: Labels;
  split: Split;
  val: TokenSet;
  valLabels: Labels;
  /** The samples that are tested. */
  valSamples: Int32Array;
}

/** What they say of the test samples. */
export type SimplePredictions = Partial<
  Record<"linear" | "knn", { predictions: Predictions; facts: Figures }>
>;

/** @returns null when it was stopped. */
export async function runSimpleProbes(
  { config, device, stages, stop }: EvalContext,
  task: SimpleTask,
): Promise<SimplePredictions | null> {
  const { data, meta, probe } = config;
  const classes = data.num_classes!;
  const multiLabel = data.multi_label;
  const { split, trainLabels } = task;
  const val = pooledOf(task.val, task.valSamples);
  const valLabels: Labels = Array.from(
    task.valSamples,
    (i) => task.valLabels[i]!,
  );
  const results: SimplePredictions = {};
  const pick = (samples: Int32Array): Labels =>
    Array.from(samples, (i) => trainLabels[i]!);
  if (probe.linear) {
    stages.begin(`${task.name}, linear`, "steps");
    const heldOut = pooledOf(task.train, split.heldOut);
    const trained = await trainLinearProbes(
      pooledOf(task.train, split.train),
      pick(split.train),
      [
        { features: heldOut, labels: pick(split.heldOut) },
        { features: val, labels: valLabels },
      ],
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
    results.linear = { predictions: predictions[1]!, facts: { lr } };
  }
  if (probe.knn > 0) {
    const all = Int32Array.from([...split.train, ...split.heldOut]).sort();
    const k = Math.min(probe.knn, all.length);
    const bank = pooledOf(task.train, all);
    const options = { k, classes, multiLabel, device };
    const predictions = await knnPredictions(
      bank,
      pick(all),
      val,
      valLabels,
      options,
    );
    results.knn = { predictions, facts: { k } };
  }
  return results;
}

/** What a classification's figures are, and the files that show them. */

import {
  classTable,
  confusionMatrix,
  confusionPicture,
  confusionTable,
  type Labels,
  multiLabelMetrics,
  type Predictions,
  type TokenCache,
  type TokenSet,
  wilsonInterval,
} from "@avjepa/evals";
import { replaceFile } from "@avjepa/train";
import { encode } from "fast-png";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import type { EvalContext } from "./context.ts";
import type { EvalIndex } from "./index_source.ts";
import type { PointResult } from "./probe_task.ts";

/** Figures of predictions: accuracies and areas in per cent. */
export type Figures = Record<string, number | [number, number] | null>;

/** One task's part of `result.json`. */
export interface ClassificationResult {
  [key: string]: unknown;
  modalities: readonly string[];
  num_samples: number;
  num_train_samples?: number;
  skipped: string[];
  skipped_reasons: Record<string, string>;
}

/** What was tested. */
export interface TestedTask {
  name: string;
  modalities: readonly string[];
  predictions: Predictions;
  /** Of other kinds of probes. */
  simple: Record<string, { predictions: Predictions; facts: Figures }>;
  /** What the probe is, and the grid it was chosen from; several with cross-validation. */
  probes: { probe: Record<string, unknown>; grid: PointResult[] }[];
  /** Of the tested samples. */
  valLabels: Labels;
  classNames: readonly string[] | null;
  /** 0: nothing was trained. */
  trainSamples: number;
  skipped: Record<string, string>;
}

/** What predictions are worth. */
function figuresOf(
  predictions: Predictions,
  labels: Labels,
  multiLabel: boolean,
): Figures {
  const { classes, scores, ranks } = predictions;
  if (multiLabel && scores !== null) {
    const targets = new Uint8Array(labels.length * classes);
    labels.forEach((list, i) => {
      for (const label of list as readonly number[])
        targets[i * classes + label] = 1;
    });
    const found = multiLabelMetrics(scores, targets, classes);
    return {
      mAP: 100 * found.averagePrecision.mean,
      AUC: 100 * found.meanAuc,
      d_prime: found.dPrime,
    };
  }
  const within = (k: number) => ranks.filter((rank) => rank < k).length;
  const { low, high } = wilsonInterval(within(1), labels.length);
  return {
    top1: (100 * within(1)) / labels.length,
    top1_interval: [100 * low, 100 * high],
    top5: (100 * within(5)) / labels.length,
  };
}

/** What the held-out part chooses by, in per cent: top-1, or mAP. */
export function scoreOf(predictions: Predictions, labels: Labels): number {
  const multiLabel = labels.some((label) => typeof label !== "number");
  const figures = figuresOf(predictions, labels, multiLabel);
  return (multiLabel ? figures.mAP : figures.top1) as number;
}

/** The figures of a task; writes its tables and its picture. */
export function reportClassification(
  context: EvalContext,
  task: TestedTask,
): ClassificationResult {
  const { config, stages } = context;
  const { name, valLabels, probes } = task;
  const multiLabel = config.data.multi_label;
  const figures = figuresOf(task.predictions, valLabels, multiLabel);
  if (!multiLabel)
    writeTables(
      context,
      name,
      task.predictions,
      valLabels as number[],
      task.classNames,
    );
  if (config.meta.compat === "reference" && !multiLabel)
    figures.top1_batch_mean = batchMean(
      task.predictions.ranks,
      config.optimization.batch_size,
    );
  stages.say(`${name}: ${inWords(figures)} of ${valLabels.length} samples`);
  const simple = Object.entries(task.simple).map(
    ([kind, { predictions, facts }]) => {
      const own = figuresOf(predictions, valLabels, multiLabel);
      stages.say(`${name}, ${kind}: ${inWords(own)}`);
      return [kind, { ...own, ...facts }];
    },
  );
  return {
    modalities: task.modalities,
    ...figures,
    num_samples: valLabels.length,
    ...(task.trainSamples > 0 && { num_train_samples: task.trainSamples }),
    ...(probes.length === 1 ? probes[0]! : { folds: probes }),
    ...(Object.fromEntries(simple) as Record<string, unknown>),
    skipped: Object.keys(task.skipped),
    skipped_reasons: task.skipped,
  };
}

/** The published figure: the mean over batches of their accuracies, however small the last one is. */
function batchMean(found: Int32Array, size: number): number {
  const means: number[] = [];
  for (let at = 0; at < found.length; at += size) {
    const batch = found.subarray(at, at + size);
    const right = batch.filter((rank) => rank === 0).length;
    means.push((100 * right) / batch.length);
  }
  return means.reduce((sum, mean) => sum + mean, 0) / means.length;
}

/** `top1 81.25 (95 %: 56.99 to 93.41) top5 100.00` */
function inWords(figures: Figures): string {
  return Object.entries(figures)
    .map(([key, value]) =>
      Array.isArray(value)
        ? `(95 %: ${value.map((x) => x.toFixed(2)).join(" to ")})`
        : `${key} ${value?.toFixed(2)}`,
    )
    .join(" ");
}

/** Classes up to which every confusion is written down. */
const mostClasses = 2000;

function writeTables(
  { folder, stages }: EvalContext,
  name: string,
  { classes, predicted }: Predictions,
  labels: readonly number[],
  names: readonly string[] | null,
): void {
  const file = (suffix: string): string => join(folder, `${name}-${suffix}`);
  const table = classTable(labels, predicted, classes, names);
  replaceFile(file("classes.csv"), table);
  if (classes > mostClasses) {
    stages.say(
      `${name}: no confusion matrix of ${classes} classes; the most is ${mostClasses}`,
    );
    return;
  }
  const matrix = confusionMatrix(labels, predicted, classes);
  replaceFile(file("confusion.csv"), confusionTable(matrix, classes, names));
  const picture = confusionPicture(matrix, classes);
  writeFileSync(
    file("confusion.png"),
    encode({ ...picture, channels: 1, depth: 8 }),
  );
}

/** Path and reason of the files of an index that are not in a set. */
export function skippedFiles(
  index: EvalIndex,
  cache: TokenCache,
  set: TokenSet,
): Record<string, string> {
  const there = new Set(set.indices);
  const reasons = new Map(
    cache.skipped.map(({ index: line, reason }) => [line, reason]),
  );
  return Object.fromEntries(
    index.paths.flatMap((path, line) =>
      there.has(line)
        ? []
        : [[path, reasons.get(line) ?? "it lacks what the encoder is given"]],
    ),
  );
}

/** What a classification's figures are, and the files that show them. */

import {
  countClasses,
  ranks,
  topK,
  type TokenCache,
  type TokenSet,
  wilson,
} from "@avjepa/evals";
import { replaceFile } from "@avjepa/train";
import { join } from "node:path";

import type { EvalContext } from "./context.ts";
import type { EvalIndex } from "./index_source.ts";
import type { PointResult, TaskResult } from "./probe_task.ts";

/** One task's part of `result.json`. Accuracies are per cent. */
export interface ClassificationResult {
  modalities: readonly string[];
  top1: number;
  /** Wilson's 95 % interval. */
  top1_interval: [number, number];
  top5: number;
  num_samples: number;
  num_train_samples: number;
  probe: PointResult & {
    projection: string;
    blocks: string;
    num_heads: number;
  };
  grid: PointResult[];
  skipped: string[];
  skipped_reasons: Record<string, string>;
}

/** What was tested. */
export interface TestedTask {
  name: string;
  modalities: readonly string[];
  result: TaskResult;
  train: { index: EvalIndex; sets: readonly TokenSet[]; cache: TokenCache };
  val: { index: EvalIndex; set: TokenSet; cache: TokenCache };
}

const percent = (fraction: number): number => 100 * fraction;

/** The figures of a task; writes its tables. */
export async function reportClassification(
  { config, folder, stages }: EvalContext,
  { name, modalities, result, train, val }: TestedTask,
): Promise<ClassificationResult> {
  const classes = config.data.num_classes!;
  const labels = Array.from(
    val.set.indices,
    (line) => val.index.labels[line] as number,
  );
  const found = ranks(result.predictions, labels);
  const right = found.filter((rank) => rank === 0).length;
  const interval = wilson(right, labels.length).map(percent);
  const best = result.points[result.best]!;
  const skipped = skippedFiles(train, val);
  const figures: ClassificationResult = {
    modalities,
    top1: percent(topK(found, 1)),
    top1_interval: interval as [number, number],
    top5: percent(topK(found, 5)),
    num_samples: labels.length,
    num_train_samples: train.sets[0]!.samples,
    probe: {
      ...best,
      projection: result.shape.projection,
      blocks: result.shape.blocks,
      num_heads: result.shape.numHeads,
    },
    grid: result.points,
    skipped: Object.keys(skipped),
    skipped_reasons: skipped,
  };
  const counts = countClasses(labels, classes);
  const hits = new Int32Array(classes);
  labels.forEach((label, i) => {
    if (found[i] === 0) hits[label]! += 1;
  });
  const names = train.index.classes;
  const rows = Array.from(
    { length: classes },
    (_, c) =>
      `${c},${JSON.stringify(names?.[c] ?? String(c))},${counts[c]},${hits[c]},${counts[c]! > 0 ? percent(hits[c]! / counts[c]!).toFixed(3) : ""}\n`,
  );
  replaceFile(
    join(folder, `${name}-classes.csv`),
    `class,name,samples,right,top1\n${rows.join("")}`,
  );
  stages.say(
    `${name}: top-1 ${figures.top1.toFixed(2)} % (95 %: ${interval.map((x) => x.toFixed(2)).join(" to ")}), top-5 ${figures.top5.toFixed(2)} %, of ${labels.length} samples; probe lr ${best.lr}, wd ${best.weight_decay}, depth ${best.depth}`,
  );
  return figures;
}

/** Path and reason of files that are in neither set. */
function skippedFiles(
  train: TestedTask["train"],
  val: TestedTask["val"],
): Record<string, string> {
  const reasons: Record<string, string> = {};
  const add = (
    index: EvalIndex,
    cache: TokenCache,
    sets: readonly TokenSet[],
  ) => {
    for (const { path, reason } of cache.skipped) reasons[path] = reason;
    const there = new Set(sets[0]!.indices);
    index.paths.forEach((path, line) => {
      if (!there.has(line)) reasons[path] ??= "it gave no tokens";
    });
  };
  add(train.index, train.cache, train.sets);
  add(val.index, val.cache, [val.set]);
  return reasons;
}

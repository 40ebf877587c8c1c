/** Probes trained on some tokens and tested on others. */

import {
  type GridPoint,
  gridPoints,
  type Labels,
  predictAll,
  type Predictions,
  ProbeGrid,
  type ProbeShape,
  ProbeTraining,
  type Split,
  splitHeldOut,
  type TokenSet,
} from "@avjepa/evals";
import {
  makeSchedules,
  type ResolvedEvalConfig,
  type StopFlag,
} from "@avjepa/train";

import type { EpochLog } from "./epoch_log.ts";
import { ProbeStore } from "./probe_store.ts";
import type { Stages } from "./stage.ts";

/** What is learned, from what. */
export interface ProbeTask {
  /** Of the progress line and files: `probe`, `probe-joint`, `probe-fold2`. */
  tag: string;
  task: string;
  /** One set for each encoded pass; they hold the same samples. */
  train: readonly TokenSet[];
  trainLabels: Labels;
  /** The samples that may be trained on. */
  trainSamples: Int32Array;
  val: TokenSet;
  valLabels: Labels;
  /** The samples that are tested on. */
  valSamples: Int32Array;
  numHeads: number;
  /** SHA-256 of the encoder, the data and the settings; and of the encoder's weights alone. */
  key: string;
  encoder: string;
}

/** Who is told, and where things are kept. */
export interface ProbeContext {
  config: ResolvedEvalConfig;
  folder: string;
  device: string;
  stages: Stages;
  stop: StopFlag;
  log: EpochLog;
  /** Take no notice of probes that are there. */
  anew: boolean;
  /** `--steps`: steps after which to stop training, and test. */
  steps?: number | undefined;
}

/** A probe of the grid, and how it did. */
export interface PointResult extends GridPoint {
  loss: number;
  /** Per cent of the last epoch's samples; 0 where samples have several labels. */
  train_top1: number;
  /** Per cent (top-1, or mAP) on the held-out part of the training samples; null where none was held out. */
  held_out: number | null;
  /** On the test set; never used to choose. */
  val: number;
}

/** What came of a task. */
export interface TaskResult {
  points: PointResult[];
  /** The chosen one, and what it says of the test samples. */
  best: number;
  predictions: Predictions;
  shape: ProbeShape;
  steps: number;
  /** The training samples: those trained on, and those that chose. */
  split: Split;
}

/** Samples of a batch in testing. */
export const testBatch = 16;

/**
 * Trains the grid, chooses by the held-out part, tests.
 *
 * @param score of predictions: what the held-out part chooses by; greater is better.
 * @returns null when it was stopped; the probes are saved.
 */
export async function runProbes(
  task: ProbeTask,
  context: ProbeContext,
  score: (predictions: Predictions, labels: Labels) => number,
): Promise<TaskResult | null> {
  const { config, device, stages, stop, log } = context;
  const { data, meta, optimization: o, probe } = config;
  const first = task.train[0]!;
  const shape: ProbeShape = {
    dim: first.dim,
    numHeads: probe.num_heads ?? task.numHeads,
    classes: data.num_classes!,
    projection: probe.projection,
    blocks: probe.blocks,
    multiLabel: data.multi_label,
  };
  const points = gridPoints(probe);
  using grid = new ProbeGrid(points, {
    ...shape,
    seed: meta.seed,
    device,
    bfloat16: o.use_bfloat16,
    clip: o.clip_grad,
  });
  const split = splitSamples(
    task,
    points.length > 1 ? probe.held_out : 0,
    meta.seed,
  );
  const { train, heldOut } = split;
  if (points.length > 1 && heldOut.length === 0)
    stages.say(
      `${task.tag}: no class has a sample to spare that could choose among ${points.length} probes: the first is taken`,
    );
  const training = new ProbeTraining(grid, {
    sets: task.train,
    labels: task.trainLabels,
    samples: train,
    batch: o.batch_size,
    epochs: o.num_epochs,
    seed: meta.seed,
    settings: schedulesOf(config, Math.ceil(train.length / o.batch_size)),
  });
  const store = new ProbeStore(context.folder, task.tag, {
    task: task.task,
    key: task.key,
    shape,
    grid: points,
    encoder: task.encoder,
  });
  const before = context.anew ? undefined : await store.restore(grid);
  if (before) {
    training.step = before.step;
    training.sums = before.sums;
    if (before.step < Math.min(training.steps, context.steps ?? Infinity))
      stages.say(`${task.tag}: going on after step ${before.step}`);
  }
  log.truncateTo(training.epoch);

  const heldOutLabels: Labels = Array.from(
    heldOut,
    (i) => task.trainLabels[i]!,
  );
  const pick = async () => {
    if (heldOut.length === 0) return null;
    const found = await predictAll(grid, first, heldOut, heldOutLabels, {
      batch: testBatch,
    });
    return found.map((one) => score(one, heldOutLabels));
  };
  const all = task.valSamples;
  const valLabels: Labels = Array.from(all, (i) => task.valLabels[i]!);
  const last = Math.min(training.steps, context.steps ?? Infinity);
  stages.begin(task.tag, "steps", training.step);
  while (training.step < last) {
    await training.next();
    const { sums } = training;
    const loss = Math.min(...sums.loss) / sums.samples;
    const known = Number.isFinite(loss) ? `loss ${loss.toFixed(4)}` : "";
    stages.at(training.step, last, known);
    if (training.atEpochEnd) {
      const chosen = await pick();
      const best = bestOf(chosen, points);
      const [tested] = await predictAll(grid, task.val, all, valLabels, {
        batch: testBatch,
        only: [best],
      });
      log.epoch({
        epoch: training.epoch,
        step: training.step,
        best,
        probes: points.map((point, i) => ({
          ...point,
          loss: sums.loss[i]! / sums.samples,
          train_acc: (100 * sums.right[i]!) / sums.samples,
          ...(chosen === null ? {} : { held_out: chosen[i]! }),
        })),
        val_acc: score(tested!, valLabels),
      });
      await store.save(grid, training, best);
    } else if (stop.signal || training.step === last) {
      await training.settle();
      const ended = training.step === last;
      await store.save(
        grid,
        training,
        ended ? bestOf(await pick(), points) : null,
      );
    }
    if (stop.signal && training.step < last) return null;
  }

  const chosen = await pick();
  const best = bestOf(chosen, points);
  stages.begin(`${task.tag}: testing`, "samples");
  const tested = await predictAll(grid, task.val, all, valLabels, {
    batch: testBatch,
    onBatch: (done) => stages.at(done, all.length),
  });
  const { sums } = training;
  return {
    points: points.map((point, i) => ({
      ...point,
      loss: sums.loss[i]! / sums.samples,
      train_top1: (100 * sums.right[i]!) / sums.samples,
      held_out: chosen?.[i] ?? null,
      val: score(tested[i]!, valLabels),
    })),
    best,
    predictions: tested[best]!,
    shape,
    steps: training.step,
    split,
  };
}

/** Samples to train on and to choose by. */
function splitSamples(
  { trainLabels, trainSamples }: ProbeTask,
  fraction: number,
  seed: number,
): Split {
  const classes = Array.from(trainSamples, (i) => {
    const label = trainLabels[i]!;
    return typeof label === "number" ? label : 0;
  });
  const { train, heldOut } = splitHeldOut(classes, fraction, seed);
  const numbers = (places: Int32Array) =>
    places.map((place) => trainSamples[place]!);
  return { train: numbers(train), heldOut: numbers(heldOut) };
}

/** The first of the best. */
function bestOf(
  scores: readonly number[] | null,
  points: readonly GridPoint[],
): number {
  if (scores === null) return 0;
  return points.reduce(
    (best, _, i) => (scores[i]! > scores[best]! ? i : best),
    0,
  );
}

/** Learning rate and weight decay of each probe at a step, counted from 1. */
function schedulesOf(config: ResolvedEvalConfig, ipe: number) {
  const { optimization: o } = config;
  const cached = new Map<GridPoint, ReturnType<typeof makeSchedules>>();
  return (step: number, point: GridPoint) => {
    const scale = point.lr / o.lr;
    const schedules =
      cached.get(point) ??
      makeSchedules({
        ipe,
        epochs: o.num_epochs,
        ipeScale: 1,
        warmup: o.warmup,
        startLr: o.start_lr * scale,
        lr: point.lr,
        finalLr: o.final_lr * scale,
        weightDecay: point.weight_decay,
        finalWeightDecay: Math.min(1e-6, point.weight_decay),
        ema: [0, 0],
      });
    cached.set(point, schedules);
    return { lr: schedules.lrAt(step), wd: schedules.wdAt(step) };
  };
}

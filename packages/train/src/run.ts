/** Decisions of a run that the loop asks for at every step. */

import { AvjepaError } from "@avjepa/core";

import type { CheckpointStore } from "./checkpoint/store.ts";
import type { ResolvedPretrainConfig } from "./config/index.ts";
import { makeSchedules } from "./schedules.ts";
import type { Schedules } from "./schedules.ts";
import type { StepResult, StepSettings } from "./train_step.ts";

/** How long a run is, and what it does when. */
export interface RunPlan {
  schedules: Schedules;
  /** Optimizer steps an epoch. */
  ipe: number;
  /** Where this process stops: the run's end, or `--steps`. */
  lastStep: number;
  /** Epoch of a step, both from 1. */
  epochOf(step: number): number;
  /** The schedules' and intervals' say on a step. */
  settings(step: number): StepSettings;
  /** Whether a checkpoint is due after a step, `minutes` after the last one. */
  checkpointDue(step: number, minutes: number): boolean;
  /** The epoch whose checkpoint is kept for good after this step. */
  epochToKeep(step: number): number | undefined;
  heldOutDue(step: number): boolean;
}

/**
 * @param files in the indexes: `optimization.ipe: null` is one pass over them.
 * @param steps `--steps`.
 */
export function planSteps(
  config: ResolvedPretrainConfig,
  files: number,
  steps?: number,
): RunPlan {
  const { logging, meta, optimization: o } = config;
  const ipe = o.ipe ?? Math.max(1, Math.floor(files / o.batch_size_total));
  const schedules = makeSchedules({
    ipe,
    epochs: o.epochs,
    ipeScale: o.ipe_scale,
    warmup: o.warmup,
    startLr: o.start_lr,
    lr: o.lr,
    finalLr: o.final_lr,
    weightDecay: o.weight_decay,
    finalWeightDecay: o.final_weight_decay,
    ema: o.ema,
  });
  const lastStep = Math.min(schedules.totalSteps, steps ?? Infinity);
  const epochOf = (step: number) => Math.floor((step - 1) / ipe) + 1;
  const endsEpoch = (step: number) => step % ipe === 0;
  return {
    schedules,
    ipe,
    lastStep,
    epochOf,
    settings(step) {
      // The reference counts epochs from 0 and clips once they exceed the warm-up's number.
      const clips = !o.clip_grad_after_warmup || epochOf(step) - 1 > o.warmup;
      return {
        step,
        lr: schedules.lrAt(step),
        wd: schedules.wdAt(step),
        momentum: schedules.emaAt(step - 1),
        clip: clips ? o.clip_grad : null,
        sampleFeatures: step % logging.collapse_every_steps === 0,
      };
    },
    checkpointDue(step, minutes) {
      const { checkpoint_every_steps: every, checkpoint_every_minutes: limit } =
        meta;
      const bySteps = every === null ? endsEpoch(step) : step % every === 0;
      return bySteps || (limit !== null && minutes >= limit);
    },
    epochToKeep(step) {
      const { save_every_freq: every } = meta;
      const epoch = epochOf(step);
      return every > 0 && endsEpoch(step) && epoch % every === 0
        ? epoch
        : undefined;
    },
    heldOutDue(step) {
      const every = logging.held_out_every_steps;
      return every === null ? endsEpoch(step) : step % every === 0;
    },
  };
}

/**
 * Stops a run whose loss, or gradient, is no number any more.
 *
 * @param store for the message: what is kept, and what to go back to should
 *   that one be spoilt already (its weights were not used before it was saved).
 * @param written resolves when the checkpoint that is being written is there.
 * @throws AvjepaError AVJ_NOT_FINITE naming the term and the step.
 */
export async function requireFinite(
  result: Omit<StepResult, "features">,
  step: number,
  store: Pick<CheckpointStore, "latestStep" | "steps" | "pathOf">,
  written: () => Promise<unknown> = async () => {},
): Promise<void> {
  const terms: [string, number | undefined][] = [
    ["loss of the video targets", result.video],
    ["loss of the audio targets", result.audio],
    ["variance regulariser", result.reg],
    ["loss", result.loss],
    ["gradient of the encoder", result.gradNormEncoder],
    ["gradient of the predictor", result.gradNormPredictor],
  ];
  const bad = terms.find(
    ([, value]) => value !== undefined && !Number.isFinite(value),
  );
  if (!bad) return;
  await written().catch(() => undefined);
  const latest = store.latestStep();
  const older = store
    .steps()
    .findLast((s) => latest !== undefined && s < latest);
  const kept = [
    ...(latest === undefined
      ? []
      : [`the last good checkpoint is kept: ${store.pathOf(latest)}`]),
    ...(older === undefined
      ? []
      : [`to go back further: --resume ${store.pathOf(older)}`]),
  ];
  throw new AvjepaError(
    "AVJ_NOT_FINITE",
    `step ${step}: the ${bad[0]} is ${bad[1]}`,
    {
      hint: [
        ...kept,
        "lower optimization.lr (with --allow-change), or set optimization.clip_grad; bun run doctor looks for broken data",
      ].join("\n"),
    },
  );
}

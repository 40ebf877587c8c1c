/** A line of `metrics.jsonl`, from what the parts of a step found. */

import type { StepPart } from "../launch/agree.ts";
import type { StepResult, StepSettings } from "../train_step.ts";
import type { StepMetrics } from "./metrics_log.ts";

/** The parts. */
export interface StepFindings {
  settings: StepSettings;
  /** From 1. */
  epoch: number;
  result: Omit<StepResult, "features">;
  /** Of all ranks. */
  all: StepPart;
  /** Wall time of the step, and of it that of waiting for data, milliseconds. */
  stepMs: number;
  dataMs: number;
  /** What is measured at its intervals: health, held-out loss, online probe. */
  measures: Record<string, number | undefined>;
}

/** What the logs are told of a step. */
export function stepMetrics(found: StepFindings): StepMetrics {
  const { settings, result, all, stepMs, dataMs, measures } = found;
  return {
    step: settings.step,
    epoch: found.epoch,
    loss: result.loss,
    loss_jepa: result.jepa,
    loss_reg: result.reg,
    ...(result.video === undefined ? {} : { loss_video: result.video }),
    ...(result.audio === undefined ? {} : { loss_audio: result.audio }),
    lr: settings.lr,
    wd: settings.wd,
    momentum: settings.momentum,
    grad_norm_encoder: result.gradNormEncoder,
    grad_norm_predictor: result.gradNormPredictor,
    step_ms: stepMs,
    data_ms: dataMs,
    clips_per_s: (1000 * all.rows) / stepMs,
    memory_bytes: all.memoryBytes,
    tokens_context: all.tokensContext,
    tokens_target: all.tokensTarget,
    ...measures,
  };
}

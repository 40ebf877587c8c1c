/**
 * One optimizer step: forward and backward over its batches, then clipping,
 * AdamW and the target's moving average. The device runs it all before the one
 * `await` at the end.
 */

import {
  type Tensor,
  autocast,
  concat,
  keep,
  noGrad,
  type optim,
  scope,
} from "@avjepa/core";
import {
  type JepaLossTerms,
  type PackedIndices,
  type Tokens,
  countModality,
  countTargets,
  jepaLossTerms,
} from "@avjepa/models";

import type { Collective } from "./collective.ts";
import type { ResolvedPretrainConfig } from "./config/index.ts";
import { sampleRows } from "./health.ts";
import type { Models } from "./models.ts";
import { type ClipName, noiseOf } from "./noise.ts";

/** A batch on its way to the device. */
export interface TrainBatch {
  /** Uploads picture and sound: see EncoderInput. */
  upload(device: string): { video?: Tensor; audio?: Tensor };
  /** Tokens that are really there. */
  present: PackedIndices;
  context: PackedIndices;
  targets: PackedIndices;
  /** Which clip each row is: rows of targets' samples, in their order. */
  clips: readonly ClipName[];
}

/** What the schedules say of a step. */
export interface StepSettings {
  /** From 1. */
  step: number;
  lr: number;
  wd: number;
  momentum: number;
  /** Largest norm of each model's gradient; null: no limit. */
  clip: number | null;
  /** Whether to bring back features of some tokens, for their health. */
  sampleFeatures: boolean;
}

/** What a step came to: means over its batches and over all processes. */
export interface StepResult {
  loss: number;
  jepa: number;
  reg: number;
  /** By modality; undefined where no target was of it. */
  video?: number;
  audio?: number;
  gradNormEncoder: number;
  gradNormPredictor: number;
  /** The target's features of some tokens, `[n, D]`, by modality; to be disposed. */
  features: { video?: Tensor; audio?: Tensor };
}

/** What steps are made with. */
export interface Trainer {
  config: ResolvedPretrainConfig;
  device: string;
  models: Models;
  adamw: optim.AdamW;
  collective: Collective;
}

/** Takes one step over this rank's batches, `optimization.grad_accum` of them. */
export async function trainStep(
  trainer: Trainer,
  batches: readonly TrainBatch[],
  settings: StepSettings,
): Promise<StepResult> {
  const { adamw, models } = trainer;
  const counts = await countAll(trainer, batches);
  const features: StepResult["features"] = {};
  const present: Term[][] = [];
  const report = scope(() => {
    const terms = batches.map((batch, i) => {
      const sampled = settings.sampleFeatures && i === 0 ? features : null;
      const { loss, ...others } = forwardBackward(trainer, batch, counts, {
        batch: i,
        of: batches.length,
        features: sampled,
      });
      const found = Object.entries({ loss, ...others }).filter(([, t]) => t);
      present.push(found.map(([name]) => name as Term));
      return concat(found.map(([, t]) => (t as Tensor).reshape(1)));
    });
    const norms = adamw.step({
      lr: settings.lr,
      wd: settings.wd,
      clip: settings.clip,
      ema: { target: models.target, momentum: settings.momentum },
    });
    return concat([...terms, ...norms]);
  });
  const values = Array.from(await report.toNumbers());
  report.dispose();
  const [gradNormEncoder = 0, gradNormPredictor = 0] = values.splice(-2);
  const means = await combine(trainer, present, values);
  return { ...means, gradNormEncoder, gradNormPredictor, features };
}

type Term = keyof JepaLossTerms;

/** Sequences with targets under each mask: of any modality that weighs, of each. */
interface Counts {
  all: number[];
  video: number[];
  audio: number[];
}

/** Those of a step, over all batches and processes. */
async function countAll(
  { config, collective }: Trainer,
  batches: readonly TrainBatch[],
): Promise<Counts> {
  const own = batches.map(({ targets }) => [
    ...countTargets(targets, config.loss.modality_weight),
    ...countModality(targets, "video"),
    ...countModality(targets, "audio"),
  ]);
  const masks = config.mask.length;
  const sums = await collective.sum(
    Array.from({ length: 3 * masks }, (_, i) =>
      own.reduce((sum, counts) => sum + (counts[i] ?? 0), 0),
    ),
  );
  return {
    all: sums.slice(0, masks),
    video: sums.slice(masks, 2 * masks),
    audio: sums.slice(2 * masks),
  };
}

/** Where a batch stands in its run. */
interface Place {
  batch: number;
  /** Batches of the step. */
  of: number;
  features: StepResult["features"] | null;
}

function forwardBackward(
  trainer: Trainer,
  batch: TrainBatch,
  counts: Counts,
  place: Place,
): JepaLossTerms {
  return scope(() => {
    const terms = forward(trainer, batch, counts, place);
    const { adamw, collective } = trainer;
    // Gradients are summed over the processes once, with those of the step's last batch.
    if (place.batch === place.of - 1)
      collective.backward(terms.loss, adamw.gradientGroups);
    else terms.loss.backward();
    return terms;
  });
}

/** The JEPA loss of a batch as it is, without gradients. */
export async function evaluateLoss(
  trainer: Trainer,
  batch: TrainBatch,
): Promise<number> {
  const { targets } = batch;
  const counts = {
    all: countTargets(targets, trainer.config.loss.modality_weight),
    video: countModality(targets, "video"),
    audio: countModality(targets, "audio"),
  };
  const place = { batch: 0, of: 1, features: null };
  const loss = scope(() =>
    noGrad(() => forward(trainer, batch, counts, place).jepa),
  );
  const value = await loss.item();
  loss.dispose();
  return value;
}

function forward(
  trainer: Trainer,
  batch: TrainBatch,
  counts: Counts,
  place: Place,
): JepaLossTerms {
  const { config, device, models } = trainer;
  const { encoder, predictor, target } = models;
  const input = batch.upload(device);
  return autocast(computeType(config), () => {
    const h = noGrad(() =>
      target.forward({ ...input, present: batch.present }),
    );
    if (place.features) sampleInto(place.features, h, trainer.collective);
    const context = encoder.forward(input, batch.context);
    const generator = noiseOf(config.meta.seed, batch.clips);
    const noise = config.model.use_mask_tokens
      ? {}
      : { noise: { targets: h, generator } };
    const z = predictor.forward(context, batch.targets, noise);
    return jepaLossTerms(z, h, {
      p: config.loss.loss_exp,
      // A mean over the step's batches on all processes, whose gradients are summed.
      regCoeff: config.loss.reg_coeff / (place.of * trainer.collective.world),
      modalityWeight: config.loss.modality_weight,
      counts: counts.all,
      modalityCounts: counts,
    });
  });
}

/** The type that products are computed in. */
function computeType({ meta }: ResolvedPretrainConfig): "float32" | "bfloat16" {
  return meta.dtype === "bfloat16" ? "bfloat16" : "float32";
}

/** Keeps some tokens' features of each modality. */
function sampleInto(
  features: StepResult["features"],
  h: Tokens,
  collective: Collective,
): void {
  for (const modality of ["video", "audio"] as const) {
    const sampled = sampleRows(h, modality, collective);
    if (sampled) features[modality] = keep(sampled);
  }
}

/**
 * Batches' terms into the step's. The JEPA loss and its modalities' are divided
 * by the whole step's counts already and are summed; the regulariser is the
 * mean of batches.
 */
async function combine(
  { collective, config }: Trainer,
  present: readonly Term[][],
  values: readonly number[],
): Promise<
  Omit<StepResult, "gradNormEncoder" | "gradNormPredictor" | "features">
> {
  const names = ["jepa", "reg", "video", "audio"] as const;
  const sums = names.map(() => 0);
  const numbers = names.map(() => 0);
  let at = 0;
  for (const terms of present) {
    for (const term of terms) {
      const value = values[at++] ?? Number.NaN;
      const i = names.indexOf(term as (typeof names)[number]);
      if (i < 0) continue;
      sums[i] = (sums[i] ?? 0) + value;
      numbers[i] = (numbers[i] ?? 0) + 1;
    }
  }
  const all = await collective.sum([...sums, ...numbers]);
  const [jepa = 0, regs = 0, video = 0, audio = 0] = all;
  const [, batches = 0, sawVideo = 0, heardAudio = 0] = all.slice(names.length);
  const reg = regs / batches;
  return {
    loss: jepa + config.loss.reg_coeff * reg,
    jepa,
    reg,
    ...(sawVideo > 0 ? { video } : {}),
    ...(heardAudio > 0 ? { audio } : {}),
  };
}

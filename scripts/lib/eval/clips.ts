/** The clips of an evaluation: what its loader is told, and what its tokens are called. */

import { ClipLoader, type ClipLoaderOptions } from "@avjepa/data";
import { FrameByFrame, type Inputs, type SequenceOptions } from "@avjepa/evals";
import type { FrozenModel, ResolvedEvalConfig } from "@avjepa/train";

import type { EvalIndex } from "./index_source.ts";
import type { SampleSource, SourceContext } from "./source.ts";

/** How the samples of an index are cut. */
export interface ClipPlan {
  /** Rows of a sample: clips, and crops of each. */
  segments: number;
  views: number;
  /** Random crops and RandAugment instead of fixed views. */
  augment: boolean;
  seed: number;
}

/** Tokens that a forward pass has, about. */
const tokensOfPass = 16_384;

/** The published training transform of video probes. */
const trainingTransform = {
  auto_augment: true,
  random_resize_scale: [0.08, 1],
  random_resize_aspect_ratio: [0.75, 4 / 3],
  horizontal_flip: 0,
  reprob: 0.25,
};

/** How training and test samples are cut: the first attend across segments only where the probe does. */
export function clipPlans(config: ResolvedEvalConfig): {
  train: ClipPlan[];
  val: ClipPlan;
} {
  const { data, optimization, cache, meta } = config;
  const attend = optimization.attend_across_segments;
  const image = config.eval_name === "image_classification_frozen";
  // The published code draws clips in testing as well.
  const reference = meta.compat === "reference";
  const train = Array.from({ length: cache.train_passes }, (_, pass) => ({
    segments: attend && !image ? data.num_segments : 1,
    views: 1,
    augment: cache.train_passes > 1 || reference,
    seed: cache.train_passes > 1 || reference ? meta.seed + pass : 0,
  }));
  const val = {
    segments: image ? 1 : data.num_segments,
    views:
      data.modalities.includes("video") && !image
        ? data.num_views_per_segment
        : 1,
    augment: false,
    seed: reference ? meta.seed : 0,
  };
  return { train, val };
}

/** Samples of a batch, so that a forward pass is of a moderate size. */
function batchOf(
  { facts }: FrozenModel,
  config: ResolvedEvalConfig,
  plan: ClipPlan,
): number {
  const { resolution } = config.optimization;
  const side = Math.floor(resolution / facts.patch);
  const time = Math.ceil(config.data.frames_per_clip / facts.tubelet);
  const audio = facts.audio ? facts.audio.rows * facts.audio.cols : 0;
  const rows = Math.min(64, tokensOfPass / (time * side * side + audio));
  return Math.max(1, Math.floor(rows / (plan.segments * plan.views)));
}

/** Options of the loader, without where it begins. */
export function loaderOptions(
  model: FrozenModel,
  config: ResolvedEvalConfig,
  plan: ClipPlan,
): ClipLoaderOptions {
  const { data, meta, optimization, pretrain } = config;
  const { facts } = model;
  const audio = facts.audio;
  return {
    batch: batchOf(model, config, plan),
    seed: plan.seed,
    order: "sequential",
    passes: 1,
    compat: meta.compat,
    evaluation: { views: plan.augment ? 0 : plan.views },
    dataAug: plan.augment ? trainingTransform : {},
    data: {
      modalities: audio === null ? ["video"] : data.modalities,
      crop_size: optimization.resolution,
      num_frames: data.frames_per_clip,
      tubelet_size: facts.tubelet,
      patch_size: facts.patch,
      sampling_rate: data.frame_step,
      clip_duration: pretrain.clip_duration,
      num_clips: plan.segments,
      frame_sampling: meta.compat === "reference" ? "reference" : "exact",
      missing_audio: data.missing_audio,
      missing_video: "mask",
      max_bad_fraction: data.max_bad_fraction,
      num_workers: data.num_workers,
      ...(audio === null
        ? {}
        : {
            audio: {
              preset: audio.preset,
              mean: audio.mean,
              std: audio.std,
              num_mel: audio.num_mel,
              patch: audio.patch,
              duration: audio.seconds,
              pad: "none",
            },
          }),
    },
  };
}

/** Opens the loader at a sample. */
export function openClips(
  index: EvalIndex,
  options: ClipLoaderOptions,
  position: number,
  device: string,
): ClipLoader {
  return new ClipLoader(index.file, {
    ...options,
    device,
    cursor: { pass: 0, position },
  });
}

/** How a sample's clips become sequences. */
function sequenceOptions(
  config: ResolvedEvalConfig,
  plan: ClipPlan,
  inputs: Inputs,
): SequenceOptions {
  return {
    inputs,
    segments: plan.segments,
    views: plan.views,
    attend: config.optimization.attend_across_segments,
    dtype: config.cache.dtype,
    bfloat16: config.optimization.use_bfloat16,
    replaces: true,
  };
}

/** The clips of an index. */
export function clipSource(
  { model, config, device, inputs }: SourceContext,
  index: EvalIndex,
  plan: ClipPlan,
): SampleSource {
  const options = loaderOptions(model, config, plan);
  const { batch, data, ...rest } = options;
  const { num_workers: _, max_bad_fraction: __, ...kept } = data ?? {};
  const { facts } = model;
  const side = Math.floor(config.optimization.resolution / facts.patch);
  const time = Math.ceil(config.data.frames_per_clip / facts.tubelet);
  const tokens = {
    video: time * side * side,
    audio: facts.audio ? facts.audio.rows * facts.audio.cols : 0,
  };
  const clip = Object.values(inputs)
    .flat()
    .reduce((sum, modality) => sum + tokens[modality], 0);
  return {
    batch,
    settings: { ...rest, data: kept },
    tokens: clip * plan.segments * plan.views,
    sequences: sequenceOptions(config, plan, inputs),
    encoder:
      facts.frames === 1 ? new FrameByFrame(model.encoder) : model.encoder,
    open: (position) => openClips(index, options, position, device),
  };
}

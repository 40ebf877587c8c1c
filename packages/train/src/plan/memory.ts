/**
 * Bytes a process's device holds at the worst moment of a step: when backward
 * starts, with everything saved, or while the target encoder is in its MLP.
 */

import type { ResolvedPretrainConfig } from "../config/index.ts";
import { wholeClip } from "./flops.ts";
import type { MaskLength } from "./lengths.ts";
import { encoderParameters, predictorParameters } from "./shape.ts";
import type { ModelShape, Stack } from "./shape.ts";

/** By what they are for. */
export interface MemoryPlan {
  /** Encoder and predictor, position tables too. */
  weights: number;
  gradients: number;
  /** AdamW's two; with `optimization.zero1` this process's part of them. */
  moments: number;
  target: number;
  /** What forward keeps for backward, and what the worst moment needs besides. */
  activations: number;
  /** Pixels and spectrograms of a batch. */
  batch: number;
  total: number;
}

const f32 = 4;

/** The estimate, for clips of these lengths. */
export function planMemory(
  config: ResolvedPretrainConfig,
  shape: ModelShape,
  masks: readonly MaskLength[],
  world = 1,
): MemoryPlan {
  const encoder = encoderParameters(shape);
  const predictor = predictorParameters(shape);
  const learned = encoder.learned + predictor.learned;
  const weights = f32 * (learned + encoder.frozen + predictor.frozen);
  const gradients = f32 * learned;
  const owners = config.optimization.zero1 ? world : 1;
  const moments = Math.ceil((2 * f32 * learned) / owners);
  const target = f32 * (encoder.learned + encoder.frozen);
  const batch = batchBytes(config, shape);
  const activations = activationBytes(config, shape, masks);
  return {
    weights,
    gradients,
    moments,
    target,
    activations,
    batch,
    total: weights + gradients + moments + target + activations + batch,
  };
}

/** Pixels are bytes, spectrograms float32. */
function batchBytes(
  { data }: ResolvedPretrainConfig,
  { video, audio }: ModelShape,
): number {
  const pixels = video.seen ? data.num_frames * data.crop_size ** 2 * 3 : 0;
  const sound = audio?.seen ? audio.tokens * audio.columns * f32 : 0;
  return data.batch_size * data.num_clips * (pixels + sound);
}

function activationBytes(
  { data, meta, optimization }: ResolvedPretrainConfig,
  shape: ModelShape,
  masks: readonly MaskLength[],
): number {
  const { encoder, predictor, video, audio } = shape;
  const half = meta.dtype === "bfloat16" ? 2 : f32;
  const checkpointed = optimization.activation_checkpointing === "block";
  const clips = data.batch_size * data.num_clips;
  const sum = (of: (mask: MaskLength) => number) =>
    clips * masks.reduce((total, mask) => total + of(mask), 0);
  const all = ({ video: v, audio: a }: MaskLength["context"]) => v + a;
  const seen = sum(({ context }) => all(context));
  const hidden = sum(({ target }) => all(target));
  const patches = sum(
    ({ context }) =>
      context.video * video.columns + context.audio * (audio?.columns ?? 0),
  );
  const whole = wholeClip(shape);
  const features = clips * all(whole) * encoder.dim * f32;
  const saved =
    features +
    half * patches +
    seen * (stackSaved(encoder, half, checkpointed) + 2 * encoder.dim * f32) +
    (seen + hidden) * stackSaved(predictor, half, checkpointed) +
    // The predicted rows: before and behind the last norm, and projected.
    hidden * (predictor.dim * (f32 + half) + encoder.dim * half);
  const backward = (seen + hidden) * blockBackward(predictor, half);
  const again = checkpointed
    ? (seen + hidden) * blockSaved(predictor, half)
    : 0;
  const inTarget =
    clips *
    Math.max(
      all(whole) * mlpForward(encoder, half),
      (whole.video * video.columns + whole.audio * (audio?.columns ?? 0)) *
        half +
        all(whole) * encoder.dim * half,
    );
  return Math.max(saved + backward + again, inTarget);
}

/** A token's bytes that a block keeps: both norms' inputs, what goes into each product, qkv, attention's output. */
function blockSaved({ dim, heads, hidden }: Stack, half: number): number {
  const norms = 2 * (dim * f32 + 2 * f32);
  return norms + half * (6 * dim + hidden) + heads * f32;
}

function stackSaved(stack: Stack, half: number, checkpointed: boolean): number {
  return (
    stack.depth * (checkpointed ? stack.dim * f32 : blockSaved(stack, half))
  );
}

/** A token's bytes that a block's backward has besides: the stream's gradient, the hidden layer's, the norm's. */
function blockBackward({ dim, hidden }: Stack, half: number): number {
  return dim * f32 + half * (hidden + dim);
}

/** A token's bytes in a block's MLP, nothing kept. */
function mlpForward({ dim, hidden }: Stack, half: number): number {
  return 2 * dim * f32 + half * (dim + 2 * hidden);
}

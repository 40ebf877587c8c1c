/** Models by the settings of a case. */

import type { DType } from "@avjepa/core";
import {
  AudioVideoEncoder,
  AudioVideoPredictor,
  type EncoderShape,
  VideoEncoder,
  VideoPredictor,
} from "@avjepa/models";
import type { ParityCase } from "../case.ts";

interface EncoderHyper {
  img_size: number;
  patch_size: number;
  num_frames: number;
  tubelet_size: number;
  embed_dim: number;
  depth: number;
  num_heads: number;
  mlp_ratio: number;
  uniform_power: boolean;
  ln_eps: number;
  qkv_bias: boolean;
}

interface PredictorHyper extends EncoderHyper {
  predictor_embed_dim: number;
  use_mask_tokens: boolean;
  num_mask_tokens: number;
}

export type AnyEncoder = VideoEncoder | AudioVideoEncoder;
export type AnyPredictor = VideoPredictor | AudioVideoPredictor;

function checkFixed(hyper: EncoderHyper, eps: number): void {
  if (hyper.ln_eps !== eps || !hyper.qkv_bias) {
    throw new Error(
      `models have layer norms of eps ${eps} and biases; the case has ${hyper.ln_eps}, qkv_bias ${hyper.qkv_bias}`,
    );
  }
}

/** The spectrogram's `[mel, frames]`: the input's, else the grid's, else the published code's. */
export function spectrogramSize(
  given: ParityCase,
  patch: number,
): [number, number] {
  const grid = given.hyper.audio_grid as [number, number] | undefined;
  const shape = given.has("audio")
    ? given.shape("audio")
    : (given.hyper.batch_fill?.audio?.shape as number[] | undefined);
  if (shape) return [shape[2] as number, shape[3] as number];
  return grid ? [grid[0] * patch, grid[1] * patch] : [128, 192];
}

export function makeEncoder(
  given: ParityCase,
  hyper: EncoderHyper,
  audio: boolean,
  dtype: DType,
): AnyEncoder {
  checkFixed(hyper, 1e-6);
  const options = {
    crop: hyper.img_size,
    patch: hyper.patch_size,
    frames: hyper.num_frames,
    tubelet: hyper.tubelet_size,
    embedDim: hyper.embed_dim,
    depth: hyper.depth,
    numHeads: hyper.num_heads,
    mlpRatio: hyper.mlp_ratio,
    uniformPower: hyper.uniform_power,
    dtype,
  };
  const [mel, audioFrames] = spectrogramSize(given, hyper.patch_size);
  return audio
    ? new AudioVideoEncoder({ ...options, mel, audioFrames })
    : new VideoEncoder(options);
}

/** @param encoder what it is for; default by the predictor's own settings. */
export function makePredictor(
  given: ParityCase,
  hyper: PredictorHyper,
  audio: boolean,
  dtype: DType,
  encoder?: EncoderShape,
): AnyPredictor {
  checkFixed(hyper, 1e-6);
  const { img_size, patch_size, num_frames, tubelet_size } = hyper;
  const side = Math.floor(img_size / patch_size);
  const [mel, frames] = spectrogramSize(given, patch_size);
  const shape =
    encoder ??
    ({
      dims: { embedDim: hyper.embed_dim, numHeads: hyper.num_heads },
      videoGrid:
        num_frames > 1
          ? [Math.floor(num_frames / tubelet_size), side, side]
          : [side, side],
      audioGrid: audio
        ? [Math.floor(mel / patch_size), Math.floor(frames / patch_size)]
        : null,
      uniformPower: hyper.uniform_power,
      positions: "sincos",
    } satisfies EncoderShape);
  const options = {
    dim: hyper.predictor_embed_dim,
    depth: hyper.depth,
    numHeads: hyper.num_heads,
    mlpRatio: hyper.mlp_ratio,
    uniformPower: hyper.uniform_power,
    maskTokens: hyper.num_mask_tokens,
    useMaskTokens: hyper.use_mask_tokens,
    dtype,
  };
  return audio
    ? new AudioVideoPredictor(shape, options)
    : new VideoPredictor(shape, options);
}

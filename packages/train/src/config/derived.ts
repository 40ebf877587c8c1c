/** Sizes that follow from a configuration: grids and widths. */

import { modelSizes } from "./model.ts";
import type { ModelSize } from "./model.ts";
import type { PretrainConfig, ResolvedPretrainConfig } from "./pretrain.ts";

/** What the derivations read; a resolved configuration has it. */
type Sized = Pick<PretrainConfig | ResolvedPretrainConfig, "data" | "model">;

/** The encoder's and the predictor's sizes. */
export interface ModelDims extends ModelSize {
  pred_embed_dim: number;
  pred_depth: number;
  pred_num_heads: number;
}

/** The named size with the configuration's own numbers over it. */
export function modelDims({ model }: Pick<Sized, "model">): ModelDims {
  const size = modelSizes[model.model_name];
  const num_heads = model.num_heads ?? size.num_heads;
  return {
    embed_dim: model.embed_dim ?? size.embed_dim,
    depth: model.depth ?? size.depth,
    num_heads,
    mlp_ratio: model.mlp_ratio ?? size.mlp_ratio,
    pred_embed_dim: model.pred_embed_dim,
    pred_depth: model.pred_depth,
    pred_num_heads: model.pred_num_heads ?? num_heads,
  };
}

/** Tokens of a clip's picture: `[time, rows, columns]`. */
export function videoGrid({
  data,
}: Pick<Sized, "data">): [number, number, number] {
  const side = Math.floor(data.crop_size / data.patch_size);
  return [Math.floor(data.num_frames / data.tubelet_size), side, side];
}

/** The spectrogram of a clip and its tokens. */
export interface AudioGrid {
  /** Patches along the mel bands. */
  rows: number;
  /** Patches along time. */
  cols: number;
  /** Side of a patch. */
  patch: number;
  /** Columns of the spectrogram: `cols · patch`. */
  frames: number;
  /**
   * Seconds the grid covers. With the reference's preset the window follows
   * the clip's frames and is stretched to the grid.
   */
  seconds: number;
}

/** Columns a second: the standard preset's hop is 10 ms. */
const framesPerSecond = 100;
/** Columns that the reference's preset stretches every window to. */
const referenceFrames = 192;

/** The grid of `data.audio`. */
export function audioGrid({ data }: Pick<Sized, "data">): AudioGrid {
  const { audio } = data;
  const patch = audio.patch ?? data.patch_size;
  const rows = Math.floor(audio.num_mel / patch);
  const seconds =
    audio.duration ??
    data.clip_duration ??
    (data.num_frames * data.sampling_rate) / 30;
  if (audio.preset === "reference") {
    const cols = Math.floor(referenceFrames / patch);
    return { rows, cols, patch, frames: referenceFrames, seconds };
  }
  const cols = Math.max(1, Math.round((seconds * framesPerSecond) / patch));
  const frames = cols * patch;
  return { rows, cols, patch, frames, seconds: frames / framesPerSecond };
}

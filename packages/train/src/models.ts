/** The models of a pretraining run, from its configuration. */

import { Generator, nn } from "@avjepa/core";
import {
  AudioVideoEncoder,
  AudioVideoPredictor,
  VideoEncoder,
  VideoPredictor,
} from "@avjepa/models";

import { audioGrid, modelDims } from "./config/index.ts";
import type { ResolvedPretrainConfig } from "./config/index.ts";

/** Context encoder, predictor, and the target encoder that follows the first. */
export interface Models {
  encoder: VideoEncoder | AudioVideoEncoder;
  predictor: VideoPredictor | AudioVideoPredictor;
  /** Without gradients. */
  target: VideoEncoder | AudioVideoEncoder;
}

/** Names of the models in a checkpoint's files. */
export const modelNamesInFiles = {
  encoder: "encoder",
  predictor: "predictor",
  target: "target_encoder",
} as const satisfies Record<keyof Models, string>;

/** Builds them with fresh weights, drawn from `meta.seed`. */
export function buildModels(
  config: ResolvedPretrainConfig,
  device: string,
): Models {
  const { app, data, mask, model, meta, optimization } = config;
  const dims = modelDims(config);
  const where = {
    device,
    generator: new Generator(meta.seed),
    uniformPower: model.uniform_power,
    checkpointing: optimization.activation_checkpointing === "block",
  };
  const encoderOptions = {
    ...where,
    embedDim: dims.embed_dim,
    depth: dims.depth,
    numHeads: dims.num_heads,
    mlpRatio: dims.mlp_ratio,
    crop: data.crop_size,
    frames: data.num_frames,
    tubelet: data.tubelet_size,
    patch: data.patch_size,
  };
  const predictorOptions = {
    ...where,
    dim: dims.pred_embed_dim,
    depth: dims.pred_depth,
    numHeads: dims.pred_num_heads,
    maskTokens: mask.length,
    useMaskTokens: model.use_mask_tokens,
    zeroInitMaskTokens: model.zero_init_mask_tokens,
  };
  if (app === "vjepa") {
    const encoder = new VideoEncoder(encoderOptions);
    const predictor = new VideoPredictor(encoder, predictorOptions);
    return { encoder, predictor, target: encoder.clone({ frozen: true }) };
  }
  const audio = audioGrid(config);
  const encoder = new AudioVideoEncoder({
    ...encoderOptions,
    mel: audio.rows * audio.patch,
    audioFrames: audio.cols * audio.patch,
    audioPatch: audio.patch,
  });
  const predictor = new AudioVideoPredictor(encoder, predictorOptions);
  return { encoder, predictor, target: encoder.clone({ frozen: true }) };
}

/** Every model's parameters, frozen ones too, under `encoder.`, `predictor.` and `target_encoder.`. */
export function weightsOf(models: Models): nn.StateDict {
  return Object.fromEntries(
    Object.entries(modelNamesInFiles).flatMap(([key, name]) =>
      Array.from(models[key as keyof Models].namedParameters(`${name}.`)),
    ),
  );
}

/** Those of a state dict whose names begin with `prefix`, without it. */
export function weightsUnder(
  prefix: string,
  weights: nn.StateDict,
): nn.StateDict {
  return Object.fromEntries(
    Object.entries(weights)
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, values]) => [name.slice(prefix.length), values]),
  );
}

/** Copies {@link weightsOf} of another run into the models. @throws AvjepaError AVJ_STATE_DICT */
export function loadWeights(models: Models, weights: nn.StateDict): void {
  for (const [key, name] of Object.entries(modelNamesInFiles))
    models[key as keyof Models].loadStateDict(
      weightsUnder(`${name}.`, weights),
    );
}

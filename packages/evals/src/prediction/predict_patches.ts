/** From a masked batch to what a decoder draws of it. */

import { autocast, noGrad, scope, type Tensor } from "@avjepa/core";
import type { ClipBatch, Masks } from "@avjepa/data";
import {
  AUDIO,
  type EncoderInput,
  type PackedIndices,
  type Tokens,
  uploadIndices,
  VIDEO,
} from "@avjepa/models";

import type { FeatureSource, PixelDecoder } from "./pixel_decoder.ts";
import {
  audioTargets,
  type PatchSizes,
  rowsOfModality,
  type TokenRows,
  videoTargets,
} from "./patch_targets.ts";

/** Encoder and predictor of a run, without gradients. */
export interface PredictingModels {
  encoder: { forward(input: EncoderInput, indices: PackedIndices): Tokens };
  predictor: { forward(z: Tokens, targets: PackedIndices): Tokens };
}

/** Tokens of one modality and source: what was drawn, what is true. */
export interface DrawnPatches {
  modality: "video" | "audio";
  source: FeatureSource;
  rows: TokenRows;
  /** `[n, values]` each. */
  drawn: Tensor;
  target: Tensor;
}

/**
 * Encodes the context of every mask, predicts its targets, and draws both.
 * Only the decoder has gradients. To be called inside a scope.
 */
export function drawPatches(
  models: PredictingModels,
  decoder: PixelDecoder,
  batch: ClipBatch,
  masks: Masks,
  sizes: PatchSizes,
  bfloat16: boolean,
): DrawnPatches[] {
  const run = () => {
    const z = models.encoder.forward(
      { video: batch.video, audio: batch.audio, present: batch.present },
      masks.context,
    );
    return [z.data, models.predictor.forward(z, masks.target).data];
  };
  const [seen, predicted] = scope(() =>
    noGrad(() => (bfloat16 ? autocast("bfloat16", run) : run())),
  ) as [Tensor, Tensor];
  const [time, height, width] = sizes.videoGrid;
  const drawn: DrawnPatches[] = [];
  for (const [source, data, indices] of [
    ["visible", seen, masks.context],
    ["masked", predicted, masks.target],
  ] as const) {
    const add = (
      modality: "video" | "audio",
      rows: TokenRows,
      target: () => Tensor,
    ) => {
      if (rows.packed.length === 0) return;
      const own = data.indexSelect(uploadIndices(rows.packed, data.device));
      const values = decoder.forward(own, modality, source);
      drawn.push({ modality, source, rows, drawn: values, target: target() });
    };
    const { video, audio } = batch;
    if (video) {
      const rows = rowsOfModality(indices, VIDEO, time * height * width);
      add("video", rows, () => videoTargets(video, rows.patches, sizes));
    }
    if (audio) {
      const [lines, columns] = sizes.audioGrid;
      const rows = rowsOfModality(indices, AUDIO, lines * columns);
      add("audio", rows, () => audioTargets(audio, rows.patches, sizes));
    }
  }
  return drawn;
}

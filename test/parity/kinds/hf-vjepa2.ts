/** Folders of transformers, and the same weights in V-JEPA 2's own layout. */

import { dirname, join } from "node:path";
import type { DType, Tensor } from "@avjepa/core";
import {
  AttentiveClassifier,
  describeForeignProbe,
  type ForeignCheckpoint,
  type PackedIndices,
  readForeignCheckpoint,
  Tokens,
  uploadIndices,
  type VideoEncoder,
  VideoPredictor,
} from "@avjepa/models";
import type { ParityCase } from "../case.ts";
import { load, masksOf, rotaryEncoder } from "./checkpoints.ts";

export async function runHfVjepa2(
  given: ParityCase,
  dtype: DType,
): Promise<void> {
  const { hyper } = given;
  const folder = join(dirname(given.path), hyper.folder as string);
  const found = await readForeignCheckpoint(folder);
  using encoder = await rotaryEncoder(given, found, dtype);
  // [B, T, C, H, W], as its processor gives them.
  const video = given
    .tensor("pixel_values_videos", { dtype })
    .permute(0, 2, 1, 3, 4);
  const features = encoder.forward({ video });
  await given.compareTensor("encoder_last_hidden_state", features.data);
  if (hyper.classifier)
    await compareClassifier(given, found, encoder, features, dtype);
  else await comparePredictor(given, found, encoder, features, dtype);
  if (hyper.official_checkpoint === undefined) return;
  const official = await readForeignCheckpoint(
    join(dirname(given.path), hyper.official_checkpoint as string),
  );
  using same = await rotaryEncoder(given, official, dtype);
  const context = masksOf(given, ["context_mask"]);
  const masked = same.forward({ video }, context);
  await given.compareTensor("official_encoder_masked", masked.data);
}

async function compareClassifier(
  given: ParityCase,
  found: ForeignCheckpoint,
  encoder: VideoEncoder,
  features: Tokens,
  dtype: DType,
): Promise<void> {
  const options = describeForeignProbe(found, {
    numHeads: encoder.dims.numHeads,
  });
  using classifier = new AttentiveClassifier({ ...options, dtype });
  await load(given, classifier, found.probe);
  await given.compareTensor("logits", classifier.forward(features));
}

async function comparePredictor(
  given: ParityCase,
  found: ForeignCheckpoint,
  encoder: VideoEncoder,
  features: Tokens,
  dtype: DType,
): Promise<void> {
  const { hyper } = given;
  using predictor = new VideoPredictor(encoder, {
    dim: hyper.pred_hidden_size,
    depth: hyper.pred_num_hidden_layers,
    numHeads: hyper.pred_num_attention_heads,
    maskTokens: hyper.pred_num_mask_tokens,
    dtype,
  });
  await load(given, predictor, found.predictor);
  const context = masksOf(given, ["context_mask"]);
  const targets = masksOf(given, ["target_mask"]);
  const all = features.indices;
  const maskIndices = [hyper.mask_index as number];
  const run = async (name: string, z: Tokens, wanted: PackedIndices) =>
    given.compareTensor(
      name,
      predictor.forward(z, wanted, { maskIndices }).data,
    );
  await run(
    "predictor_last_hidden_state",
    new Tokens(picked(features.data, all, context), context),
    targets,
  );
  // Without masks, every token is context and target.
  await run("predictor_default_masks", features, all);
}

/** Rows of the whole grid's features at the positions of a mask. */
function picked(
  data: Tensor,
  all: PackedIndices,
  wanted: PackedIndices,
): Tensor {
  const rows = new Int32Array(wanted.position.length);
  for (let s = 0; s + 1 < wanted.offsets.length; s++)
    for (let m = wanted.offsets[s]!; m < wanted.offsets[s + 1]!; m++)
      rows[m] = all.offsets[s]! + wanted.position[m]!;
  return data.indexSelect(uploadIndices(rows, data.device));
}

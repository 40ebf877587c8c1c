/** Vectors of pictures and sounds that can be compared with each other. */

import { autocast, layerNorm, noGrad, scope, type Tensor } from "@avjepa/core";
import type { ClipBatch } from "@avjepa/data";
import type {
  EncoderInput,
  Modality,
  PackedIndices,
  Tokens,
} from "@avjepa/models";

import { type FrozenEncoder, onlyModalities } from "../tokens/encode_clips.ts";

/** Models of a pretraining run. */
export interface CrossModalModels {
  encoder: FrozenEncoder;
  target: FrozenEncoder;
  predictor: { forward(z: Tokens, targets: PackedIndices): Tokens };
}

/** `[rows, D]` each, row-major: means over a row's tokens. */
export interface CrossModalVectors {
  /** Of the target encoder, seeing or hearing alone, after the layer norm of targets. */
  video: Float64Array;
  audio: Float64Array;
  /** What the predictor makes of the other modality: the picture from the sound, the sound from the picture. */
  videoFromAudio: Float64Array;
  audioFromVideo: Float64Array;
}

/**
 * Vectors of the rows of a batch that have both picture and sound.
 *
 * @returns the rows, their vectors, and the vectors' width D (0 without rows).
 */
export async function crossModalRows(
  { encoder, target, predictor }: CrossModalModels,
  batch: ClipBatch,
  bfloat16: boolean,
): Promise<{ rows: number[]; vectors: CrossModalVectors; dim: number }> {
  const rows = Array.from(batch.hasVideo.keys()).filter(
    (row) => batch.hasVideo[row] === 1 && batch.audioCols[row]! > 0,
  );
  if (rows.length === 0) {
    const none = new Float64Array(0);
    const vectors = {
      video: none,
      audio: none,
      videoFromAudio: none,
      audioFromVideo: none,
    };
    return { rows, vectors, dim: 0 };
  }
  const present = keepRows(batch.present, rows);
  const seen = onlyModalities(present, ["video"]);
  const heard = onlyModalities(present, ["audio"]);
  const run = () => {
    const encode = (by: FrozenEncoder, kind: Modality): Tokens =>
      by.forward(
        kind === "video"
          ? input("video", batch.video, seen)
          : input("audio", batch.audio, heard),
      );
    // Predictions are of targets that went through an affine-free layer norm.
    const normed = ({ data }: Tokens): Tensor =>
      layerNorm(data, null, null, 1e-5, { dtype: "float32" });
    return {
      video: normed(encode(target, "video")),
      audio: normed(encode(target, "audio")),
      videoFromAudio: predictor.forward(encode(encoder, "audio"), seen).data,
      audioFromVideo: predictor.forward(encode(encoder, "video"), heard).data,
    };
  };
  const found = scope(() =>
    noGrad(() => (bfloat16 ? autocast("bfloat16", run) : run())),
  );
  const dim = found.video.shape[1] as number;
  const means = async (values: Tensor, tokens: PackedIndices) => {
    const numbers = await values.toNumbers();
    values.dispose();
    return rowMeans(numbers, tokens, rows, dim);
  };
  const vectors = {
    video: await means(found.video, seen),
    audio: await means(found.audio, heard),
    videoFromAudio: await means(found.videoFromAudio, seen),
    audioFromVideo: await means(found.audioFromVideo, heard),
  };
  return { rows, vectors, dim };
}

const input = (
  kind: Modality,
  values: Tensor | undefined,
  present: PackedIndices,
): EncoderInput => ({ [kind]: values, present });

/** The tokens of some rows; the others have none. */
function keepRows(
  indices: PackedIndices,
  rows: readonly number[],
): PackedIndices {
  const wanted = new Set(rows);
  const kept: number[] = [];
  const offsets = new Int32Array(indices.offsets.length);
  for (let s = 0; s + 1 < offsets.length; s++) {
    if (wanted.has(s))
      for (let m = indices.offsets[s]!; m < indices.offsets[s + 1]!; m++)
        kept.push(m);
    offsets[s + 1] = kept.length;
  }
  return {
    ...indices,
    offsets,
    position: Int32Array.from(kept, (m) => indices.position[m]!),
    modality: Uint8Array.from(kept, (m) => indices.modality[m]!),
  };
}

function rowMeans(
  values: Float64Array,
  { offsets }: PackedIndices,
  rows: readonly number[],
  dim: number,
): Float64Array {
  const means = new Float64Array(rows.length * dim);
  rows.forEach((row, i) => {
    const [from, to] = [offsets[row]!, offsets[row + 1]!];
    for (let m = from; m < to; m++)
      for (let d = 0; d < dim; d++)
        means[i * dim + d]! += values[m * dim + d]! / (to - from);
  });
  return means;
}

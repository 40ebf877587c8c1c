/** A quick look at what features are worth while they are being learned. */

import type { ClipBatch } from "@avjepa/data";
import type { Modality } from "@avjepa/models";

import { sumRows } from "../tokens/bfloat16.ts";
import { encodeBatch, type FrozenEncoder } from "../tokens/encode_clips.ts";
import { knnPredictions } from "./knn.ts";
import { trainLinearProbes } from "./linear_probe.ts";
import type { PooledFeatures } from "./pooled.ts";

/** Labelled clips, seen once and in order. */
export interface LabelledClips {
  /** Opens the clips from the beginning. */
  open(): AsyncDisposable & AsyncIterable<ClipBatch>;
  /** Samples of a full batch. */
  batch: number;
  /** Of each line of the index. */
  labels: ArrayLike<number>;
}

/** Per cent of the test clips answered rightly. */
export interface OnlineFigures {
  online_linear_top1: number;
  online_knn_top1: number;
}

/** Neighbours that vote. */
const neighbours = 20;

/**
 * Trains a linear probe on the mean of the tokens of one clip a file, and asks
 * the nearest neighbours.
 *
 * @param classes labels are from 0 to classes − 1.
 */
export async function onlineProbe(
  encoder: FrozenEncoder,
  clips: { train: LabelledClips; val: LabelledClips },
  options: {
    modalities: readonly Modality[];
    classes: number;
    device: string;
    bfloat16: boolean;
  },
): Promise<OnlineFigures> {
  const { modalities, classes, device, bfloat16 } = options;
  const train = await meansOf(encoder, clips.train, modalities, bfloat16);
  const val = await meansOf(encoder, clips.val, modalities, bfloat16);
  const [linear] = (await trainLinearProbes(
    train.features,
    train.labels,
    [val],
    { classes, multiLabel: false, seed: 0, device, lr: [3e-3], epochs: 20 },
  ))!;
  const near = await knnPredictions(
    train.features,
    train.labels,
    val.features,
    val.labels,
    { k: neighbours, classes, multiLabel: false, device },
  );
  const percent = (ranks: Int32Array): number =>
    (100 * ranks.filter((rank) => rank === 0).length) / ranks.length;
  return {
    online_linear_top1: percent(linear!.predictions[0]!.ranks),
    online_knn_top1: percent(near.ranks),
  };
}

async function meansOf(
  encoder: FrozenEncoder,
  { open, batch: size, labels }: LabelledClips,
  modalities: readonly Modality[],
  bfloat16: boolean,
): Promise<{ features: PooledFeatures; labels: number[] }> {
  const rows: Float64Array[] = [];
  const own: number[] = [];
  let dim = 0;
  await using loader = open();
  for await (const batch of loader) {
    const encoded = await encodeBatch(
      encoder,
      batch,
      batch.next.position - size,
      {
        inputs: { clips: modalities },
        segments: 1,
        views: 1,
        attend: true,
        dtype: "float32",
        bfloat16,
        replaces: true,
      },
    );
    dim = encoded.dim || dim;
    for (const { index, sequences } of encoded.samples) {
      const [tokens] = sequences.clips ?? [];
      if (tokens === undefined) continue;
      const count = tokens.length / dim;
      rows.push(sumRows(tokens, dim).map((sum) => sum / count));
      own.push(labels[index]!);
    }
  }
  const values = new Float32Array(rows.length * dim);
  rows.forEach((row, i) => values.set(row, i * dim));
  return { features: { samples: rows.length, dim, values }, labels: own };
}

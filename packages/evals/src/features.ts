/** Features of clips under a frozen encoder, kept on the host. */

import { AvjepaError, noGrad, scope, type Tensor, tensor } from "@avjepa/core";
import type { ClipBatch, ClipLoader } from "@avjepa/data";
import type { Modality, Tokens } from "@avjepa/models";

import type { FrozenEncoder } from "./tokens/encode_clips.ts";

/** All tokens' features of a set of clips, which have equally many each. */
export interface Features {
  clips: number;
  tokens: number;
  dim: number;
  /** `[clips, tokens, dim]`, row-major. */
  values: Float32Array;
}

/** Features of the same clips, as seen, as heard, or both; and where the clips came from. */
export interface ExtractedFeatures {
  features: Features[];
  /** `[clips]` lines in the index. */
  indices: Int32Array;
  /** `[clips]` classes in the index. */
  labels: Int32Array;
}

/**
 * Runs an encoder over a finite loader.
 *
 * @param views the modalities that the encoder is given, for each set of
 *   features wanted: `[["video", "audio"], ["video"]]`.
 * @param onBatch called with the number of clips done.
 * @throws AvjepaError AVJ_FEATURES for clips of unequal numbers of tokens.
 */
export async function extractFeatures(
  encoder: FrozenEncoder,
  loader: ClipLoader,
  views: readonly (readonly Modality[])[],
  onBatch: (clips: number) => void = () => {},
): Promise<ExtractedFeatures> {
  const parts: Float32Array[][] = views.map(() => []);
  const shapes = views.map(() => ({ tokens: 0, dim: 0 }));
  const indices: number[] = [];
  const labels: number[] = [];
  for await (const batch of loader) {
    const found = scope(() => views.map((view) => run(encoder, batch, view)));
    for (const [i, { data, indices: tokens }] of found.entries()) {
      const each = lengthOf(tokens.offsets);
      const shape = shapes[i]!;
      if (each === null || (shape.tokens !== 0 && shape.tokens !== each))
        throw new AvjepaError(
          "AVJ_FEATURES",
          "clips have different numbers of tokens: some lack a modality, or end early",
          {
            hint: "set data.audio.pad: zero, or leave such files out of the index",
          },
        );
      shapes[i] = { tokens: each, dim: data.shape[1] as number };
      parts[i]!.push((await data.toArray()) as Float32Array);
      data.dispose();
    }
    indices.push(...batch.indices);
    labels.push(...batch.labels);
    onBatch(indices.length);
  }
  return {
    features: views.map((_, i) => ({
      ...shapes[i]!,
      clips: indices.length,
      values: concatenated(parts[i]!),
    })),
    indices: Int32Array.from(indices),
    labels: Int32Array.from(labels),
  };
}

function run(
  encoder: FrozenEncoder,
  batch: ClipBatch,
  view: readonly Modality[],
): Tokens {
  const { video, audio } = batch;
  return noGrad(() =>
    encoder.forward({
      ...(view.includes("video") ? { video } : {}),
      ...(view.includes("audio") ? { audio } : {}),
    }),
  );
}

/** Tokens of every sequence; null when they differ. */
function lengthOf(offsets: Int32Array): number | null {
  const length = (offsets[1] ?? 0) - (offsets[0] ?? 0);
  for (let s = 1; s < offsets.length; s++)
    if (offsets[s]! - offsets[s - 1]! !== length) return null;
  return length;
}

function concatenated(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(
    parts.reduce((sum, part) => sum + part.length, 0),
  );
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Features of some clips on a device, `[n, tokens, dim]`. */
export function featuresOf(
  { tokens, dim, values }: Features,
  clips: ArrayLike<number>,
  device: string,
): Tensor {
  const size = tokens * dim;
  const chosen = new Float32Array(clips.length * size);
  for (let i = 0; i < clips.length; i++)
    chosen.set(
      values.subarray(clips[i]! * size, (clips[i]! + 1) * size),
      i * size,
    );
  return tensor(chosen, [clips.length, tokens, dim], { device });
}

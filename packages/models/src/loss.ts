/**
 * The objective: predicted features against the target encoder's.
 *
 * A token's loss is `mean_d |z − t|^p / p`, t the layer norm (without weights,
 * eps 1e-5) of the target encoder's feature. It is averaged over a sequence's
 * own targets, then over samples, then over masks. A sequence without targets
 * counts for nothing.
 */

import {
  AvjepaError,
  type DType,
  lpLoss,
  noGrad,
  scope,
  segmentStd,
  type Tensor,
  tensor,
} from "@avjepa/core";
import {
  countByModality,
  eachToken,
  locate,
  type Modality,
  type PackedIndices,
  type Tokens,
  uploadIndices,
  VIDEO,
} from "./tokens.ts";

/** Weights of the means over each modality's targets. */
export type ModalityWeight = Record<Modality, number>;

export interface JepaLossOptions {
  /** Exponent; default 1. */
  p?: number;
  /** Weight of the variance regulariser; default 0. */
  regCoeff?: number;
  /** Averages each modality's targets by themselves, and these with weights; default null: every target counts the same. */
  modalityWeight?: ModalityWeight | null;
  /**
   * What the sums over each mask's sequences are divided by; default {@link
   * countTargets}. With several ranks, or accumulated gradients, that add up
   * their gradients: the sum of all their counts. If ranks average, that sum
   * over their number.
   */
  counts?: readonly number[];
  /**
   * As `counts`, for the terms `video` and `audio`: the sums of {@link
   * countModality}, which they are divided by where it is left out.
   */
  modalityCounts?: Record<Modality, readonly number[]>;
}

/** The loss and its parts: scalars `[]`. All but `loss` are for looking at only. */
export interface JepaLossTerms {
  /** `jepa + regCoeff·reg`: call backward on it. */
  loss: Tensor;
  jepa: Tensor;
  /** Variance regulariser. */
  reg: Tensor;
  /** Mean over the targets of one modality; null where it has none. */
  video: Tensor | null;
  audio: Tensor | null;
}

/** The sequences with targets under each mask, `[K]`. */
export function countTargets(
  targets: PackedIndices,
  modalityWeight: ModalityWeight | null = null,
): number[] {
  const shares = sequenceShares(targets, modalityWeight);
  return Array.from({ length: targets.masks }, (_, k) => {
    const own = shares.subarray(k * targets.samples, (k + 1) * targets.samples);
    return own.reduce((count, share) => count + (share > 0 ? 1 : 0), 0);
  });
}

/** The sequences with targets of one modality under each mask, `[K]`. */
export function countModality(
  targets: PackedIndices,
  modality: Modality,
): number[] {
  return countTargets(targets, onlyOf(modality));
}

const onlyOf = (modality: Modality): ModalityWeight => ({
  video: modality === "video" ? 1 : 0,
  audio: modality === "audio" ? 1 : 0,
});

/**
 * The loss of predictions.
 *
 * @param z the predictor's output: knows itself which tokens it predicts.
 * @param h the target encoder's output, of all tokens.
 * @returns a scalar
 * @example jepaLoss(z, h).backward();
 */
export function jepaLoss(
  z: Tokens,
  h: Tokens,
  options: JepaLossOptions = {},
): Tensor {
  return scope(() => jepaLossTerms(z, h, options).loss);
}

/** As {@link jepaLoss}, with its parts. */
export function jepaLossTerms(
  z: Tokens,
  h: Tokens,
  options: JepaLossOptions = {},
): JepaLossTerms {
  const { p = 1, regCoeff = 0, modalityWeight = null } = options;
  const targets = z.indices;
  const counts = options.counts ?? countTargets(targets, modalityWeight);
  if (counts.length !== targets.masks) {
    throw new AvjepaError(
      "AVJ_ARGUMENT",
      `jepaLoss: ${counts.length} counts for ${targets.masks} masks`,
    );
  }
  return scope(() => {
    const { device } = z.data;
    const rows = uploadIndices(locate(h.indices, targets), device);
    const tokens = lpLoss(z.data, h.data, rows, { p });
    const weighted = (weights: Float64Array) =>
      tokens.mul(upload(weights, tokens.dtype, device)).sum();
    const jepa = weighted(tokenWeights(targets, counts, modalityWeight));
    const reg = regCoeff === 0 ? noGrad(() => variance(z)) : variance(z);
    const [video, audio] = noGrad(() =>
      (["video", "audio"] as const).map((modality) => {
        const weights = modalityMean(
          targets,
          modality,
          options.modalityCounts?.[modality],
        );
        return weights && weighted(weights);
      }),
    ) as [Tensor | null, Tensor | null];
    const loss = regCoeff === 0 ? jepa : jepa.add(reg.mul(regCoeff));
    return { loss, jepa, reg, video, audio };
  });
}

/** By sequence, the sum of the weights of the modalities it has targets of; 0: it does not count. */
function sequenceShares(
  targets: PackedIndices,
  weight: ModalityWeight | null,
): Float64Array {
  const [video, audio] = countByModality(targets);
  const { video: v, audio: a } = weight ?? { video: 1, audio: 1 };
  return Float64Array.from(
    video,
    (n, s) => (n > 0 ? v : 0) + ((audio[s] as number) > 0 ? a : 0),
  );
}

/** `[M]`: the loss is the sum of the tokens' losses, times these. */
function tokenWeights(
  targets: PackedIndices,
  counts: readonly number[],
  weight: ModalityWeight | null,
): Float64Array {
  const byModality = countByModality(targets);
  const shares = sequenceShares(targets, weight);
  const masks = counts.filter((count) => count > 0).length;
  const weights = new Float64Array(targets.position.length);
  eachToken(targets, (m, s) => {
    const share = shares[s] as number;
    const count = counts[Math.floor(s / targets.samples)] as number;
    if (share === 0 || count === 0) return;
    const kind = targets.modality[m] as 0 | 1;
    const own = byModality[kind][s] as number;
    const length = (byModality[0][s] as number) + (byModality[1][s] as number);
    const inSequence =
      weight === null
        ? 1 / length
        : (kind === VIDEO ? weight.video : weight.audio) / (own * share);
    weights[m] = inSequence / (count * masks);
  });
  return weights;
}

/** As {@link tokenWeights}, over one modality alone; null when there is none of it. */
function modalityMean(
  targets: PackedIndices,
  modality: Modality,
  counts: readonly number[] = countModality(targets, modality),
): Float64Array | null {
  const only = onlyOf(modality);
  return counts.some((count) => count > 0)
    ? tokenWeights(targets, counts, only)
    : null;
}

/**
 * `mean(relu(1 − s))`, `s[b, d]` the mean over masks of `sqrt(var + 1e-4)` of
 * column d of the sample's predictions, unbiased over tokens. Sequences of
 * fewer than two targets have no variance and are left out.
 */
function variance(z: Tokens): Tensor {
  const { samples, masks, offsets } = z.indices;
  const { device } = z.data;
  const dim = z.data.shape[1] as number;
  const counted = Array.from(
    { length: samples * masks },
    (_, s) => (offsets[s + 1] as number) - (offsets[s] as number) > 1,
  );
  const perSample = Array.from(
    { length: samples },
    (_, b) => counted.filter((yes, s) => yes && s % samples === b).length,
  );
  const used = perSample.filter((count) => count > 0).length;
  const deviation = segmentStd(z.data, z.offsets, 1e-4);
  const inMean = Float64Array.from(counted, (yes, s) =>
    yes ? 1 / (perSample[s % samples] as number) : 0,
  );
  const mean = deviation
    .mul(upload(inMean, deviation.dtype, device).reshape(-1, 1))
    .reshape(masks, samples, dim)
    .sum(0);
  const share = Float64Array.from(perSample, (count) =>
    count > 0 ? 1 / (used * dim) : 0,
  );
  return mean
    .affine(-1, 1)
    .relu()
    .mul(upload(share, deviation.dtype, device).reshape(-1, 1))
    .sum();
}

function upload(values: Float64Array, dtype: DType, device: string): Tensor {
  return tensor(
    dtype === "float64" ? values : Float32Array.from(values),
    [values.length],
    { device },
  );
}

/**
 * The fused operations, as functions. Packed tokens are rows of one matrix;
 * `offsets` [S+1] (int32) say where each sequence starts and ends.
 */

import { type DType, dtypeNumber } from "./dtype.ts";
import { autocastType } from "./grad.ts";
import { type Tensor, operation } from "./tensor.ts";

/** The type products of this operand are computed in. */
function computeType(x: Tensor): DType {
  if (x.dtype === "float64") return "float64";
  return autocastType() ?? (x.dtype === "bfloat16" ? "bfloat16" : "float32");
}

/**
 * `act(x·weightᵀ + bias) + residual`.
 *
 * @param x `[…, K]`
 * @param weight `[N, K]`
 * @param bias `[N]`
 * @param options.residual `[…, N]`, added last; the result has its type.
 * @param options.gelu applies the exact GELU.
 * @returns `[…, N]`
 * @throws AvjepaError AVJ_SHAPE naming both shapes.
 */
export function linear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  options: { residual?: Tensor; gelu?: boolean } = {},
): Tensor {
  return operation("linear", x.device, [
    x.handle,
    weight.handle,
    bias?.handle ?? null,
    options.residual?.handle ?? null,
    options.gelu ?? false,
    dtypeNumber(computeType(x)),
  ]);
}

/** Weights of {@link mlp}. */
export interface MlpWeights {
  /** `[H, D]` and `[H]`. */
  weight1: Tensor;
  bias1: Tensor | null;
  /** `[D', H]` and `[D']`. */
  weight2: Tensor;
  bias2: Tensor | null;
}

/** `gelu(x·W1ᵀ + b1)·W2ᵀ + b2 + residual`, keeping only the pre-activation for backward. */
export function mlp(x: Tensor, w: MlpWeights, residual?: Tensor): Tensor {
  return operation("mlp", x.device, [
    x.handle,
    w.weight1.handle,
    w.bias1?.handle ?? null,
    w.weight2.handle,
    w.bias2?.handle ?? null,
    residual?.handle ?? null,
    dtypeNumber(computeType(x)),
  ]);
}

/**
 * Self-attention within sequences of packed tokens.
 *
 * @param qkv `[M, 3·D]`: query, key and value of each token, heads side by side.
 * @param offsets `[S+1]` int32.
 * @param heads head_dim = D/heads, 1 to 128.
 * @param scale of the scores; default head_dim^−½.
 * @returns `[M, D]`
 */
export function attention(
  qkv: Tensor,
  offsets: Tensor,
  heads: number,
  scale = Number.NaN,
): Tensor {
  return operation("attention", qkv.device, [
    qkv.handle,
    offsets.handle,
    heads,
    scale,
  ]);
}

/** Attention of the queries `[Mq, D]` of each sequence to its own keys and values `[M, 2·D]`. @returns `[Mq, D]` */
export function crossAttention(
  q: Tensor,
  kv: Tensor,
  qOffsets: Tensor,
  kvOffsets: Tensor,
  heads: number,
  scale = Number.NaN,
): Tensor {
  return operation("crossAttention", q.device, [
    q.handle,
    kv.handle,
    qOffsets.handle,
    kvOffsets.handle,
    heads,
    scale,
  ]);
}

/**
 * Layer norm over the last axis (Ba et al., arXiv 1607.06450), biased variance.
 *
 * @param options.dtype of the result; default the compute type of {@link autocast}, else x's.
 */
export function layerNorm(
  x: Tensor,
  weight: Tensor | null,
  bias: Tensor | null,
  eps: number,
  options: { dtype?: DType } = {},
): Tensor {
  const dtype = options.dtype ?? computeType(x);
  return operation("layerNorm", x.device, [
    x.handle,
    weight?.handle ?? null,
    bias?.handle ?? null,
    eps,
    dtypeNumber(dtype),
  ]);
}

/** How {@link patchify} cuts and normalises. */
export interface PatchifyOptions {
  /** `[tubelet, height, width]`. */
  patch: readonly [number, number, number];
  /** `[R]` int32, tokens to keep, counted over the batch; default all. */
  rows?: Tensor;
  /** Per channel, for uint8 pixels: `(x/255 − mean)/std`. */
  mean?: readonly number[];
  std?: readonly number[];
}

/**
 * Cuts kept tubelets out of `[B, C, T, H, W]` floats or `[B, T, H, W, C]` uint8.
 *
 * @returns `[R, C·tubelet·height·width]`, columns in the order of a convolution's weight.
 */
export function patchify(x: Tensor, options: PatchifyOptions): Tensor {
  const dtype =
    x.dtype === "uint8" ? (autocastType() ?? "float32") : computeType(x);
  return operation("patchify", x.device, [
    x.handle,
    ...options.patch,
    options.rows?.handle ?? null,
    options.mean ?? [],
    options.std ?? [],
    dtypeNumber(dtype),
  ]);
}

/**
 * Rows picked from several sources (counted one after another), each with a
 * position row added: `y[m] = source[rows[m]] + table[positions[m]]`.
 *
 * @param sources `[R_i, D]` each.
 * @param rows `[M]` int32.
 * @param table `[P, D]`, and `positions` `[M]` int32.
 * @returns `[M, D]` float32 (float64 for float64 sources): the residual stream.
 */
export function assemble(
  sources: readonly Tensor[],
  rows: Tensor,
  table?: { values: Tensor; positions: Tensor },
): Tensor {
  const dtype: DType = sources[0]?.dtype === "float64" ? "float64" : "float32";
  return operation("assemble", rows.device, [
    sources.map((s) => s.handle),
    rows.handle,
    table?.values.handle ?? null,
    table?.positions.handle ?? null,
    dtypeNumber(dtype),
  ]);
}

/**
 * The JEPA loss of each predicted token: `mean_d |z − t|^p / p`, t the
 * affine-free layer norm of `h[rows]`. No gradient flows to h.
 *
 * @param z `[M, D]`, h `[R, D]`, rows `[M]` int32.
 * @param options.normEps null compares with h as it is.
 * @returns `[M]` float32
 */
export function lpLoss(
  z: Tensor,
  h: Tensor,
  rows: Tensor,
  options: { p: number; normEps?: number | null },
): Tensor {
  const eps =
    options.normEps === undefined ? 1e-5 : (options.normEps ?? Number.NaN);
  return operation("lpLoss", z.device, [
    z.handle,
    h.handle,
    rows.handle,
    options.p,
    eps,
  ]);
}

/** `sqrt(var + eps)` over the tokens of each sequence, unbiased. x `[M, D]`, offsets `[S+1]`. @returns `[S, D]` */
export function segmentStd(x: Tensor, offsets: Tensor, eps: number): Tensor {
  return operation("segmentStd", x.device, [x.handle, offsets.handle, eps]);
}

/** Softmax cross-entropy of each row. logits `[M, C]`, labels `[M]` int32. @returns `[M]` float32 */
export function crossEntropy(
  logits: Tensor,
  labels: Tensor,
  options: { smoothing?: number } = {},
): Tensor {
  return operation("crossEntropy", logits.device, [
    logits.handle,
    labels.handle,
    options.smoothing ?? 0,
  ]);
}

/** Binary cross-entropy with logits, elementwise; targets float32 of the same shape. */
export function binaryCrossEntropy(logits: Tensor, targets: Tensor): Tensor {
  return operation("binaryCrossEntropy", logits.device, [
    logits.handle,
    targets.handle,
  ]);
}

/** Epps-Pulley statistic of SIGReg (LeJEPA, arXiv 2511.08544) of each column of `[N, S]`. @returns `[S]` */
export function eppsPulley(
  x: Tensor,
  knots: readonly number[],
  weights: readonly number[],
): Tensor {
  return operation("eppsPulley", x.device, [x.handle, knots, weights]);
}

/** Rotates the columns `column .. column + heads·headDim` by per-token angles. cos, sin `[M, headDim]`. */
export function rotary(
  x: Tensor,
  options: {
    heads: number;
    headDim: number;
    column?: number;
    cos: Tensor;
    sin: Tensor;
  },
): Tensor {
  const { heads, headDim, column = 0, cos, sin } = options;
  return operation("rotary", x.device, [
    x.handle,
    heads,
    headDim,
    column,
    cos.handle,
    sin.handle,
  ]);
}

/** One measurement of each family of kernels that products, attention, norms and the optimizer leave, reckoned by the bytes it must move. */

import {
  assemble,
  binaryCrossEntropy,
  crossEntropy,
  eppsPulley,
  Generator,
  lpLoss,
  patchify,
  requireGrad,
  rotary,
  segmentStd,
  type Tensor,
  tensor,
} from "@avjepa/core";

import type { Kernel } from "./kernels.ts";

/** Both masks' tokens of a clip in the predictor of ViT-T, and classes of Kinetics-400. */
const ROWS = 2331;
const DIM = 384;
const CLASSES = 400;
/** Knots of the characteristic function: SIGReg's. */
const KNOTS = 17;

/**
 * Bytes count what the algorithm has to read and write once, float32.
 *
 * @param device where; its kernels for float32.
 */
export function familyKernels(device: string): Kernel[] {
  const random = new Generator(1);
  const draw = (...shape: number[]) => random.normal(shape, 0, 1, { device });
  const integers = (values: Int32Array) =>
    tensor(values, [values.length], { device });
  const each = (count: number, of: (i: number) => number) =>
    integers(Int32Array.from({ length: count }, (_, i) => of(i)));

  const [x, dy] = [draw(ROWS, DIM), draw(ROWS, DIM)];
  const learned = requireGrad(draw(ROWS, DIM));
  // Neighbours in one are far apart in the other.
  const rows = each(ROWS, (i) => (i * 997) % ROWS);
  const matrix = 4 * ROWS * DIM;
  const about = { shape: [ROWS, DIM], dtype: "float32" } as const;
  const perRow = draw(ROWS);
  const backward = (
    kernel: string,
    bytes: number,
    prepare: () => Tensor,
    gradient: Tensor,
    shape: readonly number[] = about.shape,
  ): Kernel => ({
    ...about,
    kernel: `${kernel} backward`,
    shape,
    bytes,
    prepare,
    run: (y) => y?.backward(gradient),
  });

  const logits = draw(ROWS, CLASSES);
  const learnedLogits = requireGrad(draw(ROWS, CLASSES));
  const labels = each(ROWS, (i) => (i * 31) % CLASSES);
  const probabilities = random.uniform([ROWS, CLASSES], 0, 1, { device });
  const classes = 4 * ROWS * CLASSES;
  const offClasses = { ...about, shape: [ROWS, CLASSES] };

  const positions = { values: draw(ROWS, DIM), positions: rows };
  const heads = { heads: 6, headDim: DIM / 6 };
  const angles = { cos: draw(ROWS, DIM / 6), sin: draw(ROWS, DIM / 6) };

  // A clip of ViT's shape: 16 frames of 224 × 224, tubelets of 2 × 16 × 16.
  const [frames, side, patch] = [16, 224, [2, 16, 16] as const];
  const pixels = frames * side * side * 3;
  const clip = tensor(
    new Uint8Array(pixels).fill(7),
    [1, frames, side, side, 3],
    { device, dtype: "uint8" },
  );
  const picture = requireGrad(draw(1, 3, frames, side, side));
  const tokens = pixels / 1536;
  const cutShape = [frames, side, side, 3];

  const offsets = integers(Int32Array.of(0, 1125, ROWS));
  const knots = Array.from(
    { length: KNOTS },
    (_, i) => -5 + (10 * i) / (KNOTS - 1),
  );
  const weights = knots.map((t) => Math.exp((-t * t) / 2));

  return [
    {
      ...about,
      kernel: "cast to bfloat16",
      bytes: 1.5 * matrix,
      run: () => x.cast("bfloat16"),
    },
    {
      ...about,
      kernel: "permute",
      bytes: 2 * matrix,
      run: () => x.permute(1, 0),
    },
    {
      ...about,
      kernel: "sum over columns",
      bytes: matrix,
      run: () => x.sum(1),
    },
    { ...about, kernel: "sum over rows", bytes: matrix, run: () => x.sum(0) },
    { ...about, kernel: "softmax", bytes: 2 * matrix, run: () => x.softmax() },
    backward("softmax", 3 * matrix, () => learned.softmax(), dy),
    {
      ...about,
      kernel: "gather + positions",
      bytes: 3 * matrix,
      run: () => assemble([x], rows, positions),
    },
    backward(
      "gather (scatter)",
      2 * matrix,
      () => assemble([learned], rows),
      dy,
    ),
    {
      ...about,
      kernel: "rotary",
      bytes: 2 * matrix,
      run: () => rotary(x, { ...heads, ...angles }),
    },
    {
      ...about,
      kernel: "Lp loss",
      bytes: 2 * matrix,
      run: () => lpLoss(x, dy, rows, { p: 1 }),
    },
    backward(
      "Lp loss",
      3 * matrix,
      () => lpLoss(learned, dy, rows, { p: 1 }),
      perRow,
    ),
    {
      ...offClasses,
      kernel: "cross-entropy",
      bytes: classes,
      run: () => crossEntropy(logits, labels),
    },
    backward(
      "cross-entropy",
      2 * classes,
      () => crossEntropy(learnedLogits, labels),
      perRow,
      offClasses.shape,
    ),
    {
      ...offClasses,
      kernel: "binary cross-entropy",
      bytes: 3 * classes,
      run: () => binaryCrossEntropy(logits, probabilities),
    },
    {
      ...about,
      kernel: "patchify uint8",
      shape: cutShape,
      bytes: 5 * pixels,
      run: () =>
        patchify(clip, { patch, mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2] }),
    },
    backward(
      "patchify",
      8 * pixels,
      () => patchify(picture, { patch }),
      draw(tokens, 1536),
      cutShape,
    ),
    {
      ...about,
      kernel: "feature deviation",
      bytes: matrix,
      run: () => segmentStd(x, offsets, 1e-4),
    },
    {
      ...about,
      kernel: "Epps-Pulley",
      bytes: matrix,
      run: () => eppsPulley(x, knots, weights),
    },
    {
      ...about,
      kernel: "random uniform",
      bytes: matrix,
      run: () => random.uniform([ROWS, DIM], 0, 1, { device }),
    },
    {
      ...about,
      kernel: "random normal",
      bytes: matrix,
      run: () => random.normal([ROWS, DIM], 0, 1, { device }),
    },
  ];
}

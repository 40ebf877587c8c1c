/** The shapes at which single kernels are timed. */

import { adapters } from "@avjepa/core";

interface Shapes {
  /** Rows, columns, depth. */
  products: readonly [m: number, n: number, k: number][];
  /** Heads, columns a head, tokens of each sequence. */
  attentions: readonly [
    heads: number,
    headDim: number,
    lengths: readonly number[],
  ][];
}

/** A driver that computes on the processor would take hours over those of training. */
export function shapesFor(device: string): Shapes {
  const adapter = adapters().find((found) => found.device === device);
  return adapter?.kind === "software" ? smallShapes : trainingShapes;
}

const smallShapes: Shapes = {
  products: [
    [256, 256, 256],
    [160, 576, 192],
  ],
  attentions: [
    [2, 24, [128, 128]],
    [3, 64, [80, 80]],
    [1, 128, [100, 60]],
  ],
};

/** ViT-T's and the predictor's layers, over one clip's tokens or both masks'. */
const trainingProducts: Shapes["products"] = [
  [1568, 576, 192],
  [1568, 768, 192],
  [1568, 192, 768],
  [2331, 1152, 384],
  [2331, 384, 384],
  [2331, 1536, 384],
  [2331, 384, 1536],
  [1568, 4096, 1024],
];

const trainingAttentions: Shapes["attentions"] = [
  [3, 64, [1568]],
  [3, 64, [370, 113]],
  [3, 128, [1125, 1206]],
  [16, 24, [1125, 1206]],
  [12, 32, [1125, 1206]],
  [16, 80, [1568]],
  [16, 88, [784]],
];

const trainingShapes: Shapes = {
  products: trainingProducts,
  attentions: trainingAttentions,
};

/** Transformer blocks over packed tokens (Dosovitskiy et al., arXiv 2010.11929), pre-norm. */

import {
  attention,
  checkpoint,
  mlp,
  nn,
  rotary,
  scope,
  type Tensor,
} from "@avjepa/core";
import type { ParameterOptions } from "./patch-embed.ts";
import type { Rotation } from "./rotary-positions.ts";

/** Width, heads and MLP of a block. */
export interface BlockDims {
  dim: number;
  numHeads: number;
  /** Hidden width of the MLP over the width; cut to a whole number. */
  mlpRatio: number;
  /** Of the layer norms; default 1e-6. */
  eps?: number;
}

/** Multi-head self-attention within each sequence. */
export class Attention extends nn.Module {
  readonly qkv: nn.Linear;
  readonly proj: nn.Linear;
  readonly #heads: number;
  readonly #dim: number;

  constructor(dim: number, heads: number, options: ParameterOptions) {
    super();
    this.#dim = dim;
    this.qkv = new nn.Linear(dim, 3 * dim, options);
    this.proj = new nn.Linear(dim, dim, options);
    this.#heads = heads;
  }

  /** @param x `[M, D]` @param offsets `[S+1]` @param residual `[M, D]`, added @param rotation turns queries and keys @returns `[M, D]` */
  forward(
    x: Tensor,
    offsets: Tensor,
    residual: Tensor,
    rotation?: Rotation,
  ): Tensor {
    const qkv = this.qkv.forward(x);
    const turned = rotation
      ? this.#turn(this.#turn(qkv, 0, rotation), this.#dim, rotation)
      : qkv;
    return this.proj.forward(attention(turned, offsets, this.#heads), {
      residual,
    });
  }

  #turn(qkv: Tensor, column: number, rotation: Rotation): Tensor {
    return rotary(qkv, {
      heads: this.#heads,
      headDim: this.#dim / this.#heads,
      column,
      ...rotation,
    });
  }
}

/** Two linear layers with an exact GELU between. */
export class Mlp extends nn.Module {
  readonly fc1: nn.Linear;
  readonly fc2: nn.Linear;

  constructor(dim: number, hidden: number, options: ParameterOptions) {
    super();
    this.fc1 = new nn.Linear(dim, hidden, options);
    this.fc2 = new nn.Linear(hidden, dim, options);
  }

  /** @param x `[M, D]` @param residual `[M, D]`, added @returns `[M, D]` */
  forward(x: Tensor, residual: Tensor): Tensor {
    const { fc1, fc2 } = this;
    return mlp(
      x,
      {
        weight1: fc1.weight,
        bias1: fc1.bias,
        weight2: fc2.weight,
        bias2: fc2.bias,
      },
      residual,
    );
  }
}

/** `x + attn(norm1(x))`, then `x + mlp(norm2(x))`. */
export class Block extends nn.Module {
  readonly norm1: nn.LayerNorm;
  readonly attn: Attention;
  readonly norm2: nn.LayerNorm;
  readonly mlp: Mlp;

  constructor(
    { dim, numHeads, mlpRatio, eps = 1e-6 }: BlockDims,
    options: ParameterOptions,
  ) {
    super();
    const { generator: _, ...where } = options;
    this.norm1 = new nn.LayerNorm(dim, { ...where, eps });
    this.attn = new Attention(dim, numHeads, options);
    this.norm2 = new nn.LayerNorm(dim, { ...where, eps });
    this.mlp = new Mlp(dim, Math.trunc(dim * mlpRatio), options);
  }

  /** @param x `[M, D]`, the residual stream @param offsets `[S+1]` @returns `[M, D]` */
  forward(x: Tensor, offsets: Tensor, rotation?: Rotation): Tensor {
    // What the graph does not keep is freed here, not at the end of the step.
    return scope(() => {
      const y = this.attn.forward(this.norm1.forward(x), offsets, x, rotation);
      return this.mlp.forward(this.norm2.forward(y), y);
    });
  }
}

/** Makes `depth` blocks. */
export function makeBlocks(
  depth: number,
  dims: BlockDims,
  options: ParameterOptions,
): Block[] {
  return Array.from({ length: depth }, () => new Block(dims, options));
}

/**
 * Runs blocks one after another.
 *
 * @param x `[M, D]`, freed.
 * @param options.checkpointing makes each block's intermediates again for backward instead of keeping them.
 * @param options.rotation of the tokens, for blocks without a position table.
 * @param options.after called with each block's output and number; it may keep what it makes of it.
 */
export function runBlocks(
  blocks: readonly Block[],
  x: Tensor,
  offsets: Tensor,
  options: {
    checkpointing?: boolean;
    rotation?: Rotation;
    after?: (x: Tensor, block: number) => void;
  } = {},
): Tensor {
  let stream = x;
  for (const [i, block] of blocks.entries()) {
    const input = stream;
    const run = () => block.forward(input, offsets, options.rotation);
    stream = options.checkpointing ? checkpoint(run) : run();
    input.dispose();
    options.after?.(stream, i);
  }
  return stream;
}

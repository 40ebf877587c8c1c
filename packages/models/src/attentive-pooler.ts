/**
 * The attentive pooler: learned queries attend to all tokens (Bardes et al.,
 * arXiv 2404.08471, appendix; Chen et al., arXiv 2202.03026).
 */

import {
  crossAttention,
  Generator,
  nn,
  scope,
  type Tensor,
} from "@avjepa/core";
import { refuse, requireSizes } from "./check.ts";
import { rescaleByDepth } from "./init.ts";
import type { ParameterOptions } from "./patch-embed.ts";
import { Tokens, uploadIndices } from "./tokens.ts";
import { type ModelOptions, parameterOptions } from "./video-encoder.ts";
import { Block, type BlockDims, makeBlocks, Mlp } from "./vit.ts";

/**
 * The linear layer after cross-attention: `applied`; `unused`, a parameter that
 * is in the weights and does nothing, as in V-JEPA's probes; or `absent`, as in
 * V-JEPA 2's.
 */
export type Projection = "applied" | "unused" | "absent";

/** Size of a pooler. */
export interface AttentivePoolerOptions extends ModelOptions {
  dim: number;
  numHeads: number;
  /** Cross-attention and `depth − 1` blocks of self-attention; default 1. */
  depth?: number;
  /** Where the blocks are: after, over the queries (default), or before, over the tokens, as in V-JEPA 2. */
  blocks?: "after" | "before";
  /** Default 4. */
  mlpRatio?: number;
  /** Default 1. */
  queries?: number;
  /** Default `applied`. */
  projection?: Projection;
}

/** Attention of queries to the tokens of their sequence. */
class CrossAttention extends nn.Module {
  readonly q: nn.Linear;
  readonly kv: nn.Linear;
  readonly proj: nn.Linear | null;
  readonly #heads: number;
  readonly #projection: Projection;

  constructor(
    dim: number,
    heads: number,
    projection: Projection,
    options: ParameterOptions,
  ) {
    super();
    this.q = new nn.Linear(dim, dim, options);
    this.kv = new nn.Linear(dim, 2 * dim, options);
    this.proj =
      projection === "absent" ? null : new nn.Linear(dim, dim, options);
    this.#heads = heads;
    this.#projection = projection;
  }

  /** @param q `[S·Q, D]`, x `[M, D]` @returns `q + attention`, `[S·Q, D]` */
  forward(q: Tensor, x: Tensor, qOffsets: Tensor, offsets: Tensor): Tensor {
    const y = crossAttention(
      this.q.forward(q),
      this.kv.forward(x),
      qOffsets,
      offsets,
      this.#heads,
    );
    if (this.proj === null || this.#projection !== "applied")
      return q.add(y.dtype === q.dtype ? y : y.cast(q.dtype));
    return this.proj.forward(y, { residual: q });
  }
}

/** `q + xattn(q, norm1(x))`, then `q + mlp(norm2(q))`. The queries are not normalised. */
class CrossAttentionBlock extends nn.Module {
  readonly norm1: nn.LayerNorm;
  readonly xattn: CrossAttention;
  readonly norm2: nn.LayerNorm;
  readonly mlp: Mlp;

  constructor(
    { dim, numHeads, mlpRatio, eps = 1e-5 }: BlockDims,
    projection: Projection,
    options: ParameterOptions,
  ) {
    super();
    const { generator: _, ...where } = options;
    this.norm1 = new nn.LayerNorm(dim, { ...where, eps });
    this.xattn = new CrossAttention(dim, numHeads, projection, options);
    this.norm2 = new nn.LayerNorm(dim, { ...where, eps });
    this.mlp = new Mlp(dim, Math.trunc(dim * mlpRatio), options);
  }

  forward(q: Tensor, x: Tensor, qOffsets: Tensor, offsets: Tensor): Tensor {
    return scope(() => {
      const y = this.xattn.forward(q, this.norm1.forward(x), qOffsets, offsets);
      return this.mlp.forward(this.norm2.forward(y), y);
    });
  }
}

/** Sums sequences of tokens up in a few features each. */
export class AttentivePooler extends nn.Module {
  /** `[1, Q, D]` */
  readonly queryTokens: nn.Parameter;
  readonly crossAttentionBlock: CrossAttentionBlock;
  readonly blocks: Block[];
  readonly #before: boolean;

  /** @throws AvjepaError AVJ_ARGUMENT when sizes do not fit each other. */
  constructor(options: AttentivePoolerOptions) {
    super();
    const {
      dim,
      numHeads,
      depth = 1,
      mlpRatio = 4,
      queries = 1,
      projection = "applied",
    } = options;
    requireSizes("AttentivePooler", { dim, numHeads, depth, queries });
    if (dim % numHeads !== 0 || dim / numHeads > 128) {
      refuse(
        "AttentivePooler",
        `${numHeads} heads do not cut the width ${dim} into whole columns of at most 128`,
      );
    }
    const parameters = parameterOptions(options);
    const { generator, ...where } = parameters;
    const dims = { dim, numHeads, mlpRatio, eps: 1e-5 };
    this.queryTokens = new nn.Parameter(
      generator.truncatedNormal([1, queries, dim], 0.02, -2, 2, where),
    );
    this.crossAttentionBlock = new CrossAttentionBlock(
      dims,
      projection,
      parameters,
    );
    this.blocks = makeBlocks(depth - 1, dims, parameters);
    this.#before = options.blocks === "before";
    const { xattn, mlp } = this.crossAttentionBlock;
    rescaleByDepth(1, xattn.proj ?? null, mlp);
    this.blocks.forEach((block, i) =>
      rescaleByDepth(this.#before ? i + 1 : i + 2, block.attn.proj, block.mlp),
    );
    // What is never used is never learned, nor decayed.
    if (projection === "unused")
      for (const p of (xattn.proj as nn.Linear).parameters())
        p.rebind(p.detach());
  }

  /**
   * @param x tokens, or `[B, N, D]`
   * @returns `[S, Q, D]`
   */
  forward(x: Tokens | Tensor): Tensor {
    return scope(() => {
      const { data, offsets, sequences } = sequencesOf(x);
      const { device, dtype } = data;
      const [, queries = 0, dim = 0] = this.queryTokens.shape;
      const flat = this.queryTokens.reshape(queries, dim);
      const repeat = Int32Array.from(
        { length: sequences * queries },
        (_, i) => i % queries,
      );
      const starts = Int32Array.from(
        { length: sequences + 1 },
        (_, s) => s * queries,
      );
      const q = flat.indexSelect(uploadIndices(repeat, device));
      const qOffsets = uploadIndices(starts, device);
      const run = (blocks: readonly Block[], y: Tensor, at: Tensor) =>
        blocks.reduce((stream, block) => block.forward(stream, at), y);
      const stream = dtype === "bfloat16" ? data.cast("float32") : data;
      const seen = this.#before ? run(this.blocks, stream, offsets) : stream;
      const pooled = this.crossAttentionBlock.forward(
        q,
        seen,
        qOffsets,
        offsets,
      );
      return (
        this.#before ? pooled : run(this.blocks, pooled, qOffsets)
      ).reshape(sequences, queries, dim);
    });
  }
}

function sequencesOf(x: Tokens | Tensor): {
  data: Tensor;
  offsets: Tensor;
  sequences: number;
} {
  if (x instanceof Tokens)
    return {
      data: x.data,
      offsets: x.offsets,
      sequences: x.indices.offsets.length - 1,
    };
  const [batch = 0, length = 0, dim = 0] = x.shape;
  if (x.ndim !== 3)
    refuse(
      "AttentivePooler",
      `the input is [${x.shape.join(", ")}], but must be tokens, or [B, N, D]`,
    );
  const starts = Int32Array.from({ length: batch + 1 }, (_, s) => s * length);
  return {
    data: x.reshape(batch * length, dim),
    offsets: uploadIndices(starts, x.device),
    sequences: batch,
  };
}

/** Size of a classifier. */
export interface AttentiveClassifierOptions extends Omit<
  AttentivePoolerOptions,
  "queries"
> {
  classes: number;
}

/**
 * A pooler of one query and a linear layer: the probe on frozen features.
 *
 * @example
 * const probe = new AttentiveClassifier({ dim: 192, numHeads: 3, classes: 400 });
 * const logits = probe.forward(noGrad(() => encoder.forward({ video }))); // [B, 400]
 */
export class AttentiveClassifier extends nn.Module {
  readonly pooler: AttentivePooler;
  readonly linear: nn.Linear;

  constructor(options: AttentiveClassifierOptions) {
    super();
    const { dim, classes } = options;
    requireSizes("AttentiveClassifier", { classes });
    const generator = options.generator ?? new Generator(options.seed ?? 0);
    const { generator: _, ...where } = parameterOptions(options);
    this.pooler = new AttentivePooler({ ...options, generator });
    this.linear = new nn.Linear(dim, classes, { ...where, generator });
    // PyTorch's default for a linear layer, which the pooler's own do not have.
    const bound = 1 / Math.sqrt(dim);
    scope(() => {
      this.linear.weight.copyFrom(
        generator.uniform([classes, dim], -bound, bound, where),
      );
      this.linear.bias?.copyFrom(
        generator.uniform([classes], -bound, bound, where),
      );
    });
  }

  /** @param x tokens, or `[B, N, D]` @returns logits `[S, classes]` */
  forward(x: Tokens | Tensor): Tensor {
    return scope(() => {
      const pooled = this.pooler.forward(x);
      const [sequences = 0, , dim = 0] = pooled.shape;
      return this.linear.forward(pooled.reshape(sequences, dim));
    });
  }
}

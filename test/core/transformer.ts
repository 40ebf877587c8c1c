/** A small transformer that learns from noise, for tests of core. */

import {
  assemble,
  attention,
  autocast,
  checkpoint,
  Generator,
  layerNorm,
  mlp,
  nn,
  noGrad,
  optim,
  scope,
  type Tensor,
  tensor,
} from "@avjepa/core";

class Block extends nn.Module {
  readonly norm1: nn.LayerNorm;
  readonly qkv: nn.Linear;
  readonly proj: nn.Linear;
  readonly norm2: nn.LayerNorm;
  readonly fc1: nn.Linear;
  readonly fc2: nn.Linear;

  constructor(dim: number, generator: Generator) {
    super();
    const linear = (inputs: number, outputs: number) =>
      new nn.Linear(inputs, outputs, { generator, std: 0.1 });
    this.norm1 = new nn.LayerNorm(dim);
    this.qkv = linear(dim, 3 * dim);
    this.proj = linear(dim, dim);
    this.norm2 = new nn.LayerNorm(dim);
    this.fc1 = linear(dim, 4 * dim);
    this.fc2 = linear(4 * dim, dim);
  }

  forward(x: Tensor, offsets: Tensor): Tensor {
    const { fc1, fc2 } = this;
    const y = attention(this.qkv.forward(this.norm1.forward(x)), offsets, 2);
    const z = this.proj.forward(y, { residual: x });
    const weights = {
      weight1: fc1.weight,
      bias1: fc1.bias,
      weight2: fc2.weight,
      bias2: fc2.bias,
    };
    return mlp(this.norm2.forward(z), weights, z);
  }
}

/** Blocks, and the table their input is taken from. */
export class Transformer extends nn.Module {
  readonly table: nn.Parameter;
  readonly blocks: Block[];

  constructor(dim: number, depth: number, seed: number) {
    super();
    const generator = new Generator(seed);
    this.table = new nn.Parameter(generator.normal([16, dim]));
    this.blocks = Array.from(
      { length: depth },
      () => new Block(dim, generator),
    );
  }

  forward(rows: Tensor, offsets: Tensor, checkpointing = false): Tensor {
    return this.blocks.reduce(
      (x, block) =>
        checkpointing
          ? checkpoint(() => block.forward(x, offsets))
          : block.forward(x, offsets),
      assemble([this.table], rows),
    );
  }
}

/** Trains; every step has other lengths. Returns the losses. */
export class Training {
  readonly net: Transformer;
  readonly target: Transformer;
  readonly adamw: optim.AdamW;
  #step = 0;

  constructor(dim = 32, depth = 2) {
    this.net = new Transformer(dim, depth, 1);
    this.target = new Transformer(dim, depth, 2);
    this.adamw = new optim.AdamW([this.net]);
  }

  /** @param tokens of the longer of two sequences. */
  async step(
    tokens: number,
    options: { checkpointing?: boolean; bfloat16?: boolean } = {},
  ): Promise<number> {
    this.#step += 1;
    const lengths = [tokens, Math.floor(tokens / 3)];
    const total = tokens + (lengths[1] ?? 0);
    const loss = scope(() => {
      const rows = tensor(
        Int32Array.from({ length: total }, (_, i) => (i * 7 + this.#step) % 16),
      );
      const offsets = tensor(Int32Array.of(0, tokens, total));
      const run = () => {
        const h = noGrad(() => this.target.forward(rows, offsets));
        const z = this.net.forward(rows, offsets, options.checkpointing);
        return z
          .sub(layerNorm(h, null, null, 1e-6, { dtype: z.dtype }))
          .square()
          .mean();
      };
      const loss = options.bfloat16 ? autocast("bfloat16", run) : run();
      loss.backward();
      this.adamw.step({
        lr: 1e-3,
        wd: 0.05,
        clip: 1,
        ema: { target: this.target, momentum: 0.99 },
      });
      return loss;
    });
    const value = await loss.item();
    loss.dispose();
    return value;
  }
}

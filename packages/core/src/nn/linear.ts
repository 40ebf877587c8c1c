/** Linear layer `y = x·weightᵀ + bias`. */

import { linear } from "../functional.ts";
import { Generator, type RandomOptions } from "../random.ts";
import { type Tensor, zeros } from "../tensor.ts";
import { Module } from "./module.ts";
import { Parameter } from "./parameter.ts";

export interface LinearOptions extends RandomOptions {
  /** Default true. */
  bias?: boolean;
  /** Draws the weight; default: seed 0. */
  generator?: Generator;
  /** Standard deviation of the truncated normal the weight is drawn from; default 0.02. */
  std?: number;
}

export class Linear extends Module {
  /** `[outputs, inputs]` */
  readonly weight: Parameter;
  /** `[outputs]` */
  readonly bias: Parameter | null;

  /** Weight: truncated normal; bias: zero. */
  constructor(inputs: number, outputs: number, options: LinearOptions = {}) {
    super();
    const {
      bias = true,
      generator = new Generator(0),
      std = 0.02,
      ...where
    } = options;
    this.weight = new Parameter(
      generator.truncatedNormal([outputs, inputs], std, -2, 2, where),
    );
    this.bias = bias ? new Parameter(zeros([outputs], where)) : null;
  }

  /** @param x `[…, inputs]` @param options see {@link linear} @returns `[…, outputs]` */
  forward(
    x: Tensor,
    options: { residual?: Tensor; gelu?: boolean } = {},
  ): Tensor {
    return linear(x, this.weight, this.bias, options);
  }
}

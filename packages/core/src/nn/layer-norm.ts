/** Layer norm with learned scale and shift. */

import type { DType } from "../dtype.ts";
import { layerNorm } from "../functional.ts";
import type { RandomOptions } from "../random.ts";
import { type Tensor, ones, zeros } from "../tensor.ts";
import { Module } from "./module.ts";
import { Parameter } from "./parameter.ts";

export class LayerNorm extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly #eps: number;

  /** @param eps default 1e-5, PyTorch's. */
  constructor(dim: number, options: RandomOptions & { eps?: number } = {}) {
    super();
    const { eps = 1e-5, ...where } = options;
    this.weight = new Parameter(ones([dim], where));
    this.bias = new Parameter(zeros([dim], where));
    this.#eps = eps;
  }

  /** @param x `[…, dim]` @param options.dtype of the result, see {@link layerNorm}. */
  forward(x: Tensor, options: { dtype?: DType } = {}): Tensor {
    return layerNorm(x, this.weight, this.bias, this.#eps, options);
  }
}

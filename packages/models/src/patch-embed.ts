/**
 * Patch embedding: a convolution whose kernel is as large as its stride, done
 * as one matrix product over the kept patches only.
 */

import {
  type DType,
  Generator,
  linear,
  nn,
  patchify,
  type Tensor,
  zeros,
} from "@avjepa/core";
import { inModelType } from "./input.ts";

/** Where and as what parameters are made, and what draws them. */
export interface ParameterOptions {
  device?: string;
  dtype?: DType;
  generator?: Generator;
}

/** Weight and bias of the convolution, under PyTorch's names and shapes. */
export class PatchProjection extends nn.Module {
  /** `[D, C, tubelet, height, width]`, or `[D, C, height, width]` for pictures. */
  readonly weight: nn.Parameter;
  /** `[D]` */
  readonly bias: nn.Parameter;

  /** @param kernel sizes of the weight after D. */
  constructor(
    dim: number,
    kernel: readonly number[],
    options: ParameterOptions = {},
  ) {
    super();
    const { generator = new Generator(0), ...where } = options;
    this.weight = new nn.Parameter(
      generator.truncatedNormal([dim, ...kernel], 0.02, -2, 2, where),
    );
    this.bias = new nn.Parameter(zeros([dim], where));
  }

  /**
   * @param x `[B, C, (T,) H, W]` floats or `[B, (T,) H, W, C]` uint8
   * @param rows `[R]` int32, patches to embed, counted over the batch; null: all.
   * @param norm mean and deviation by channel, for uint8.
   * @returns `[R, D]`
   */
  forward(
    x: Tensor,
    rows: Tensor | null,
    norm: { mean: readonly number[]; std: readonly number[] },
  ): Tensor {
    const [dim = 0, , ...kernel] = this.weight.shape;
    const [tubelet, height, width] = (
      kernel.length === 2 ? [1, ...kernel] : kernel
    ) as [number, number, number];
    const columns = patchify(inModelType(x, this.weight.dtype), {
      patch: [tubelet, height, width],
      ...(rows === null ? {} : { rows }),
      ...(x.dtype === "uint8" ? norm : {}),
    });
    // Bytes become float32, which a float64 model takes in as such.
    const patches =
      this.weight.dtype === "float64" ? columns.cast("float64") : columns;
    return linear(patches, this.weight.reshape(dim, -1), this.bias);
  }
}

/**
 * Initial weights.
 *
 * Every matrix, convolution and query token is drawn from a normal of
 * deviation 0.02, every bias is 0, every layer norm the identity: the layers'
 * constructors do that, all from one counter-based generator, so a seed gives
 * the same model on every device. Encoder and predictor are not scaled by
 * depth: the published pretraining draws them again after it did.
 */

import { Generator, type nn, scope, type Tensor, zeros } from "@avjepa/core";
import type { Mlp } from "./vit.ts";

/**
 * Draws zeros: for models whose weights are loaded at once.
 *
 * @example new VideoEncoder({ size: "vit_huge", generator: new Blank() }).loadStateDict(weights);
 */
export class Blank extends Generator {
  constructor() {
    super(0);
  }

  override uniform(
    ...[shape, , , options]: Parameters<Generator["uniform"]>
  ): Tensor {
    return zeros(shape, options);
  }

  override normal(
    ...[shape, , , options]: Parameters<Generator["normal"]>
  ): Tensor {
    return zeros(shape, options);
  }

  override truncatedNormal(
    ...[shape, , , , options]: Parameters<Generator["truncatedNormal"]>
  ): Tensor {
    return zeros(shape, options);
  }
}

/** Divides the weights that write into the residual stream by `√(2·layer)`, layers counted from 1. */
export function rescaleByDepth(
  layer: number,
  proj: nn.Linear | null,
  mlp: Mlp,
): void {
  scope(() => {
    for (const linear of [proj, mlp.fc2]) {
      linear?.weight.copyFrom(
        linear.weight.detach().mul(1 / Math.sqrt(2 * layer)),
      );
    }
  });
}

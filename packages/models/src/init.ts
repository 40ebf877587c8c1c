/**
 * Initial weights.
 *
 * Every matrix, convolution and query token is drawn from a normal of
 * deviation 0.02, every bias is 0, every layer norm the identity: the layers'
 * constructors do that, all from one counter-based generator, so a seed gives
 * the same model on every device. Encoder and predictor are not scaled by
 * depth: the published pretraining draws them again after it did.
 */

import { type nn, scope } from "@avjepa/core";
import type { Mlp } from "./vit.ts";

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

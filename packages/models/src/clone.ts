/** Copies of models. */

import type { nn } from "@avjepa/core";

/**
 * Gives `copy` the values of `source`.
 *
 * @param options.frozen makes `copy`'s parameters constants: no gradients, no optimizer.
 */
export function cloneModule<M extends nn.Module>(
  source: M,
  copy: M,
  options: { frozen?: boolean } = {},
): M {
  copy.loadStateDict(source.stateDict());
  if (options.frozen) freeze(copy);
  return copy;
}

/** Makes every parameter of a module a constant. */
export function freeze(module: nn.Module): void {
  for (const parameter of module.parameters()) {
    if (parameter.requiresGrad) parameter.rebind(parameter.detach());
  }
}

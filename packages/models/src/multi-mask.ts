/**
 * The wrappers that published checkpoints were saved from. Encoders and
 * predictors here take any number of masks at once, so training needs no
 * wrapper; its place in the names of the weights remains.
 */

import { nn } from "@avjepa/core";

/** A module whose state-dict keys begin with `backbone.`. */
export class MultiMask<M extends nn.Module> extends nn.Module {
  readonly backbone: M;

  constructor(backbone: M) {
    super();
    this.backbone = backbone;
  }
}

/** Keys without the `module.` and `backbone.` that data-parallel and mask wrappers put in front. */
export function unwrapKeys<T>(state: Record<string, T>): Record<string, T> {
  return Object.fromEntries(
    Object.entries(state).map(([key, value]) => [
      key.replace(/^(module\.|backbone\.)+/, ""),
      value,
    ]),
  );
}

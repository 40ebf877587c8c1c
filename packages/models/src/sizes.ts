/** The encoder's named sizes (Dosovitskiy et al., arXiv 2010.11929; Zhai et al., arXiv 2106.04560). */

import { refuse, requireSizes } from "./check.ts";

/** Width, depth, heads, and the MLP's hidden width over the width. */
export interface VitDims {
  embedDim: number;
  depth: number;
  numHeads: number;
  mlpRatio: number;
}

/**
 * The named sizes. `vit_gigantic` has the MLP that was meant (64/13 of the
 * width): the reference builds it with ratio 4 through a misspelt argument, so
 * its weights load with `mlpRatio: 4`.
 */
export const vitSizes = {
  vit_tiny: { embedDim: 192, depth: 12, numHeads: 3, mlpRatio: 4 },
  vit_small: { embedDim: 384, depth: 12, numHeads: 6, mlpRatio: 4 },
  vit_base: { embedDim: 768, depth: 12, numHeads: 12, mlpRatio: 4 },
  vit_large: { embedDim: 1024, depth: 24, numHeads: 16, mlpRatio: 4 },
  vit_huge: { embedDim: 1280, depth: 32, numHeads: 16, mlpRatio: 4 },
  vit_giant: { embedDim: 1408, depth: 40, numHeads: 16, mlpRatio: 48 / 11 },
  vit_gigantic: { embedDim: 1664, depth: 48, numHeads: 16, mlpRatio: 64 / 13 },
} as const satisfies Record<string, VitDims>;

/** A name of {@link vitSizes}. */
export type VitSize = keyof typeof vitSizes;

/**
 * A named size with single numbers put over it.
 *
 * @throws AvjepaError AVJ_ARGUMENT for an unknown name, or when a number is neither named nor given.
 * @example vitDims("vit_tiny", { depth: 2 }); // width 192, 2 blocks, 3 heads
 */
export function vitDims(
  size: string | undefined,
  own: Partial<VitDims> = {},
): VitDims {
  const named: Partial<VitDims> | undefined =
    size === undefined ? { mlpRatio: 4 } : vitSizes[size as VitSize];
  if (named === undefined) {
    refuse(
      "encoder",
      `there is no size "${size}"`,
      `the sizes are ${Object.keys(vitSizes).join(", ")}`,
    );
  }
  const dims = {
    embedDim: own.embedDim ?? named.embedDim,
    depth: own.depth ?? named.depth,
    numHeads: own.numHeads ?? named.numHeads,
    mlpRatio: own.mlpRatio ?? named.mlpRatio,
  };
  for (const [name, value] of Object.entries(dims)) {
    if (value === undefined)
      refuse(
        "encoder",
        `neither size nor ${name} is given`,
        'name a size, such as size: "vit_tiny"',
      );
  }
  const { embedDim, depth, numHeads, mlpRatio } = dims as VitDims;
  requireSizes("encoder", { embedDim, depth, numHeads });
  if (!(mlpRatio > 0))
    refuse("encoder", `mlpRatio is ${mlpRatio}, but must be above 0`);
  return { embedDim, depth, numHeads, mlpRatio };
}

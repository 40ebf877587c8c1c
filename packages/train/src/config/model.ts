/** `model`: the encoder's and predictor's sizes. */

import {
  bool,
  choice,
  int,
  num,
  optional,
  orNull,
  required,
  section,
} from "./key.ts";

/** A named encoder: width, depth, heads and the width of its MLP over its own. */
export interface ModelSize {
  embed_dim: number;
  depth: number;
  num_heads: number;
  mlp_ratio: number;
}

/**
 * The named sizes. `vit_gigantic` has the MLP its authors meant (64/13 of the
 * width); the reference builds it with ratio 4 through a misspelt argument.
 */
export const modelSizes = {
  vit_tiny: { embed_dim: 192, depth: 12, num_heads: 3, mlp_ratio: 4 },
  vit_small: { embed_dim: 384, depth: 12, num_heads: 6, mlp_ratio: 4 },
  vit_base: { embed_dim: 768, depth: 12, num_heads: 12, mlp_ratio: 4 },
  vit_large: { embed_dim: 1024, depth: 24, num_heads: 16, mlp_ratio: 4 },
  vit_huge: { embed_dim: 1280, depth: 32, num_heads: 16, mlp_ratio: 4 },
  vit_giant: { embed_dim: 1408, depth: 40, num_heads: 16, mlp_ratio: 48 / 11 },
  vit_gigantic: {
    embed_dim: 1664,
    depth: 48,
    num_heads: 16,
    mlp_ratio: 64 / 13,
  },
} as const satisfies Record<string, ModelSize>;

/** The names of {@link modelSizes}. */
export const modelNames = [
  "vit_tiny",
  "vit_small",
  "vit_base",
  "vit_large",
  "vit_huge",
  "vit_giant",
  "vit_gigantic",
] as const;

const ofSize = "the named size's";

export const modelSchema = section({
  model_name: required(
    choice(modelNames),
    "Named size of the encoder: width, depth, heads, MLP ratio.",
  ),
  embed_dim: optional(
    orNull(int({ min: 1 })),
    null,
    "Width of the encoder, instead of the named size's.",
    ofSize,
  ),
  depth: optional(
    orNull(int({ min: 1 })),
    null,
    "Blocks of the encoder, instead of the named size's.",
    ofSize,
  ),
  num_heads: optional(
    orNull(int({ min: 1 })),
    null,
    "Attention heads of the encoder, instead of the named size's.",
    ofSize,
  ),
  mlp_ratio: optional(
    orNull(num({ above: 0 })),
    null,
    "Hidden width of the MLP over the width, instead of the named size's.",
    ofSize,
  ),
  pred_depth: required(int({ min: 1 }), "Blocks of the predictor."),
  pred_embed_dim: required(int({ min: 1 }), "Width of the predictor."),
  pred_num_heads: optional(
    orNull(int({ min: 1 })),
    null,
    "Attention heads of the predictor.",
    "the encoder's heads",
  ),
  uniform_power: optional(
    bool(),
    true,
    "Share the position table's columns equally between time, row and column; false gives time a half.",
  ),
  use_mask_tokens: optional(
    bool(),
    true,
    "Queries of the predictor are learned mask tokens; false uses noised targets.",
  ),
  zero_init_mask_tokens: optional(
    bool(),
    true,
    "Mask tokens start at zero; false draws them from a normal of deviation 0.02.",
  ),
});

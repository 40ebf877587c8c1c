/** `optimization`: steps, schedules, optimizer. */

import {
  bool,
  choice,
  int,
  num,
  optional,
  orNull,
  pair,
  required,
  section,
} from "./key.ts";

export const optimizationSchema = section({
  epochs: required(int({ min: 1 }), "Epochs of the run."),
  ipe: optional(
    orNull(int({ min: 1 })),
    null,
    "Optimizer steps of an epoch.",
    "one pass over the data",
  ),
  ipe_scale: optional(
    num({ above: 0 }),
    1,
    "Stretches the schedules beyond the run's end.",
  ),
  warmup: required(
    num({ min: 0 }),
    "Epochs of linear warm-up of the learning rate.",
  ),
  start_lr: required(
    num({ min: 0 }),
    "Learning rate at the start of the warm-up.",
  ),
  lr: required(num({ min: 0 }), "Learning rate at the end of the warm-up."),
  final_lr: required(num({ min: 0 }), "Learning rate at the schedule's end."),
  weight_decay: required(num({ min: 0 }), "Weight decay at the start."),
  final_weight_decay: required(
    num({ min: 0 }),
    "Weight decay at the schedule's end.",
  ),
  ema: required(
    pair({ min: 0, max: 1 }),
    "Momentum of the target encoder at the start and at the schedule's end.",
  ),
  betas: optional(
    pair({ min: 0, max: 1 }),
    [0.9, 0.999],
    "AdamW's decay rates of the moments.",
  ),
  eps: optional(num({ min: 0 }), 1e-8, "AdamW's ε."),
  clip_grad: optional(
    orNull(num({ above: 0 })),
    null,
    "Greatest L2 norm of the gradient, of the encoder and of the predictor each; null: no clipping.",
  ),
  clip_grad_after_warmup: optional(
    bool(),
    false,
    "Clip only from the first epoch after the warm-up's last, as published.",
    "false; true with meta.compat: reference",
  ),
  decay_mask_tokens: optional(
    bool(),
    true,
    "Weight decay on the mask tokens, as published; false leaves them out.",
  ),
  grad_accum: optional(
    orNull(int({ min: 1 })),
    null,
    "Forward and backward passes an optimizer step.",
    "1, or from batch_size_total",
  ),
  batch_size_total: optional(
    orNull(int({ min: 1 })),
    null,
    "Clips an optimizer step takes over all processes: batch_size · processes · grad_accum.",
    "from the other two",
  ),
  zero1: optional(
    bool(),
    false,
    "Each process keeps AdamW's moments of its part of the weights only: less memory, half as much again to send, the same bits.",
  ),
  activation_checkpointing: optional(
    choice(["none", "block"]),
    "none",
    "`block` recomputes each block in the backward pass: less memory, a third more time, the same bits.",
  ),
});

/** What takes a run's steps, with fresh weights. */

import { AvjepaError, optim } from "@avjepa/core";

import type { Collective } from "./collective.ts";
import type { ResolvedPretrainConfig } from "./config/index.ts";
import { buildModels } from "./models.ts";
import type { Trainer } from "./train_step.ts";

/**
 * Builds models and optimizer on a device.
 *
 * @throws AvjepaError AVJ_DTYPE where the device cannot train in `meta.dtype`.
 */
export function makeTrainer(
  config: ResolvedPretrainConfig,
  device: string,
  collective: Collective,
): Trainer {
  const { meta, optimization } = config;
  if (meta.dtype === "float16")
    throw new AvjepaError(
      "AVJ_DTYPE",
      `meta.dtype is float16, which needs a loss scaler; ${device} has none`,
      { hint: "set meta.dtype: bfloat16, or float32" },
    );
  const models = buildModels(config, device);
  const adamw = new optim.AdamW([models.encoder, models.predictor], {
    betas: optimization.betas,
    eps: optimization.eps,
    noDecay: (name) =>
      !optimization.decay_mask_tokens && name.startsWith("mask_tokens"),
    ...(optimization.zero1 && collective.world > 1
      ? { shards: collective }
      : {}),
  });
  return { config, device, models, adamw, collective };
}

/** The schema of `configs/pretrain/*.yaml`: the components', composed. */

import { z } from "zod";

import { dataSchema } from "./data.ts";
import { dataAugSchema } from "./data_aug.ts";
import { choice, int, optional, orNull, required } from "./key.ts";
import { loggingSchema } from "./logging.ts";
import { lossSchema } from "./loss.ts";
import { maskSchema } from "./mask.ts";
import { metaSchema } from "./meta.ts";
import { modelSchema } from "./model.ts";
import { optimizationSchema } from "./optimization.ts";

export const pretrainSchema = z.strictObject({
  app: required(
    choice(["vjepa", "avjepa", "avprediction"]),
    "What is trained: video, picture and sound, or the prediction probe on a pretrained model.",
  ),
  nodes: optional(
    orNull(int({ min: 1 })),
    null,
    "Machines of a SLURM job; read by `bun run slurm` only.",
  ),
  tasks_per_node: optional(
    orNull(int({ min: 1 })),
    null,
    "Processes a machine of a SLURM job; read by `bun run slurm` only.",
  ),
  data: dataSchema,
  data_aug: dataAugSchema,
  mask: maskSchema,
  model: modelSchema,
  loss: lossSchema,
  optimization: optimizationSchema,
  meta: metaSchema,
  logging: loggingSchema,
});

/** A pretraining configuration as the schema leaves it. */
export type PretrainConfig = z.output<typeof pretrainSchema>;

/**
 * A pretraining configuration whose every value is known: the batch's three
 * numbers agree with the number of processes, defaults that depend on other
 * keys are filled in.
 */
export type ResolvedPretrainConfig = Omit<
  PretrainConfig,
  "data" | "optimization"
> & {
  data: Omit<PretrainConfig["data"], "batch_size"> & { batch_size: number };
  optimization: Omit<
    PretrainConfig["optimization"],
    "grad_accum" | "batch_size_total"
  > & { grad_accum: number; batch_size_total: number };
};

/** Keys the reference reads and never uses: accepted, with one warning. */
export const pretrainIgnored: Record<string, string> = {
  "data.decode_one_clip": "clips of a file are always decoded together",
  "data.pin_mem": "how clips reach a device is not configured",
  "data.log_resource_utilization": "metrics.jsonl has time and memory",
  "meta.use_sdpa": "attention is always the fused kernel",
  "meta.eval_freq": "no evaluation hangs on it",
};

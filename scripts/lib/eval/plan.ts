/** What an evaluation would do: for --dry-run. */

import { AvjepaError } from "@avjepa/core";
import { readIndex } from "@avjepa/data";
import { gridPoints } from "@avjepa/evals";
import {
  checkpointPath,
  type EncoderFacts,
  encoderFacts,
  formatBytes,
  modelSizes,
  openCheckpoint,
  type ResolvedEvalConfig,
} from "@avjepa/train";
import { existsSync, readFileSync, statSync } from "node:fs";

import { clipPlans } from "./clips.ts";

/** Numbers are null where the data, or the checkpoint, is not there yet. */
export interface EvalPlan {
  task: string;
  checkpoint: string | null;
  embed_dim: number | null;
  train_samples: number | null;
  val_samples: number | null;
  tokens_per_train_sample: number | null;
  tokens_per_val_sample: number | null;
  token_bytes: number | null;
  probes: number;
  steps: number | null;
  folder: string;
}

/** Makes the plan; what is missing is warned of. */
export async function planEvaluation(
  config: ResolvedEvalConfig,
  warn: (text: string) => void,
): Promise<EvalPlan> {
  const { cache, data, optimization, pretrain, probe, eval_name } = config;
  const found = await factsOf(config, warn);
  const size = pretrain.model_name && modelSizes[pretrain.model_name];
  const dim = found?.facts.dims.embedDim ?? (size ? size.embed_dim : null);
  const patch = found?.facts.patch ?? pretrain.patch_size ?? 16;
  const tubelet = found?.facts.tubelet ?? pretrain.tubelet_size ?? 2;
  const image = eval_name === "image_classification_frozen";
  const side = Math.floor(
    (image ? data.resolution : optimization.resolution) / patch,
  );
  const frames = image ? pretrain.frames_per_clip : data.frames_per_clip;
  const video = Math.max(1, Math.floor(frames / tubelet)) * side * side;
  const sound = found?.facts.audio;
  const audio = sound ? sound.rows * sound.cols : 0;
  const clip =
    (data.modalities.includes("video") ? video : 0) +
    (data.modalities.includes("audio") ? audio : 0);
  const inputs = eval_name === "audiovisual_classification" ? 2 : 1;
  const plans = clipPlans(config);
  const [first] = plans.train;
  const further = data.multi_label || data.fold_column;
  const train = countLines(data.dataset_train, further, warn);
  const val =
    data.folds > 1 ? train : countLines(data.dataset_val, further, warn);
  const perTrain = image ? clip : clip * (first?.segments ?? 1) * inputs;
  const perVal = image
    ? clip
    : clip * plans.val.segments * plans.val.views * inputs;
  const width = cache.dtype === "bfloat16" ? 2 : 4;
  const passes = plans.train.length;
  const known = dim !== null && (train !== null || val !== null);
  const bytes = known
    ? ((train ?? 0) * perTrain * passes + (val ?? 0) * perVal) * dim * width
    : null;
  const trains = eval_name !== "retrieval";
  return {
    task: eval_name,
    checkpoint: found?.path ?? null,
    embed_dim: dim,
    train_samples: train,
    val_samples: val,
    tokens_per_train_sample: trains ? perTrain : null,
    tokens_per_val_sample: perVal,
    token_bytes: bytes,
    probes: trains ? gridPoints(probe).length : 0,
    steps:
      train === null || !trains
        ? null
        : Math.ceil(train / optimization.batch_size) * optimization.num_epochs,
    folder: config.logging.folder,
  };
}

/** The plan in words. */
export function formatEvalPlan(plan: EvalPlan): string[] {
  const or = (value: number | null): string =>
    value === null ? "?" : value.toLocaleString("en");
  return [
    `${plan.task}: ${plan.checkpoint ?? "no checkpoint yet"}, width ${or(plan.embed_dim)}`,
    `samples: ${or(plan.train_samples)} to train, ${or(plan.val_samples)} to test`,
    `tokens a sample: ${or(plan.tokens_per_train_sample)} in training, ${or(plan.tokens_per_val_sample)} in testing; on the disk ${plan.token_bytes === null ? "?" : formatBytes(plan.token_bytes)}`,
    `probes: ${plan.probes}, ${or(plan.steps)} steps`,
    `folder: ${plan.folder}`,
  ];
}

async function factsOf(
  { pretrain }: ResolvedEvalConfig,
  warn: (text: string) => void,
): Promise<{ facts: EncoderFacts; path: string } | null> {
  try {
    const path = checkpointPath(pretrain.folder, pretrain.checkpoint);
    if (!existsSync(path) || !statSync(path).isDirectory()) return null;
    const checkpoint = await openCheckpoint(path);
    return { facts: encoderFacts(checkpoint), path: checkpoint.path };
  } catch (error) {
    if (!AvjepaError.is(error)) throw error;
    warn(error.message);
    return null;
  }
}

/** @param further whether the lines have more columns than a loader's index has. */
function countLines(
  index: string | undefined,
  further: boolean,
  warn: (text: string) => void,
): number | null {
  if (index === undefined || index.includes("${")) return null;
  if (existsSync(index) && statSync(index).isDirectory()) return null;
  try {
    if (further && existsSync(index))
      return readFileSync(index, "utf8").match(/^.*\S.*$/gm)?.length ?? 0;
    return readIndex(index).paths.length;
  } catch (error) {
    if (!AvjepaError.is(error)) throw error;
    warn(error.message);
    return null;
  }
}

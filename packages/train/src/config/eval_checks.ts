/** Combinations of an evaluation's keys that cannot work. */

import type { EvalConfig } from "./evaluation.ts";
import type { Problem } from "./problem.ts";

const needs = {
  video_classification_frozen: ["dataset_train", "dataset_val"],
  image_classification_frozen: ["dataset_name", "root_path", "image_folder"],
} as const;

/** Everything wrong with a configuration whose single keys are right. */
export function evalProblems(config: EvalConfig): Problem[] {
  const { data, pretrain, eval_name } = config;
  const problems: Problem[] = needs[eval_name]
    .filter((key) => data[key] === undefined)
    .map((key) => ({
      path: ["data", key],
      message: `missing key "data.${key}": ${eval_name} needs it`,
    }));
  const isVideo = eval_name === "video_classification_frozen";
  const where = isVideo ? "optimization" : "data";
  const { resolution } = config[where];
  if (resolution % pretrain.patch_size !== 0)
    problems.push({
      path: [where, "resolution"],
      message: `${where}.resolution ${resolution} is not divisible by pretrain.patch_size ${pretrain.patch_size}`,
    });
  const frames = pretrain.frames_per_clip;
  if (frames > 1 && frames % pretrain.tubelet_size !== 0)
    problems.push({
      path: ["pretrain", "frames_per_clip"],
      message: `pretrain.frames_per_clip ${frames} is not divisible by pretrain.tubelet_size ${pretrain.tubelet_size}`,
    });
  if (
    data.frame_step !== null &&
    pretrain.frame_step !== null &&
    data.frame_step !== pretrain.frame_step
  )
    problems.push({
      path: ["data", "frame_step"],
      message: `data.frame_step is ${data.frame_step}, but pretrain.frame_step is ${pretrain.frame_step}`,
      hint: "the reference reads only the second; give one of them",
    });
  return problems;
}

/** Combinations of an evaluation's keys that cannot work, and defaults that depend on others. */

import { join } from "node:path";

import type { EvalConfig, ResolvedEvalConfig } from "./evaluation.ts";
import type { Problem } from "./problem.ts";

const isImage = (config: EvalConfig): boolean =>
  config.eval_name === "image_classification_frozen";

/** Everything wrong with a configuration whose single keys are right. */
export function evalProblems(config: EvalConfig): Problem[] {
  const { data, eval_name, optimization, pretrain, probe, meta } = config;
  const problems: Problem[] = missingKeys(config).map((key) => ({
    path: ["data", key],
    message: `missing key "data.${key}": ${config.eval_name} needs it`,
  }));
  const where = isImage(config) ? "data" : "optimization";
  const { resolution } = config[where];
  if (pretrain.patch_size !== null && resolution % pretrain.patch_size !== 0)
    problems.push({
      path: [where, "resolution"],
      message: `${where}.resolution ${resolution} is not divisible by pretrain.patch_size ${pretrain.patch_size}`,
    });
  const frames = pretrain.frames_per_clip;
  const tubelet = pretrain.tubelet_size;
  if (frames > 1 && tubelet !== null && frames % tubelet !== 0)
    problems.push({
      path: ["pretrain", "frames_per_clip"],
      message: `pretrain.frames_per_clip ${frames} is not divisible by pretrain.tubelet_size ${tubelet}`,
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
  if (data.modalities !== null && data.modalities.length === 0)
    problems.push({
      path: ["data", "modalities"],
      message: "data.modalities is empty",
      hint: "name video, audio or both",
    });
  if (data.folds > 1 && data.dataset_val !== undefined)
    problems.push({
      path: ["data", "folds"],
      message: `data.folds is ${data.folds}, but data.dataset_val is given too`,
      hint: "cross-validation tests on the parts of dataset_train; leave one of them out",
    });
  if (data.fold_column && (data.folds === 1 || data.fold_pattern !== null))
    problems.push({
      path: ["data", "fold_column"],
      message: `data.fold_column says that dataset_train has the folds, but ${data.folds === 1 ? "data.folds is 1" : "data.fold_pattern finds them in the files' names"}`,
      hint: "set data.folds to their number, and take one of data.fold_column and data.fold_pattern",
    });
  if (
    probe.checkpoint !== null &&
    (eval_name === "retrieval" || data.folds > 1)
  )
    problems.push({
      path: ["probe", "checkpoint"],
      message: `probe.checkpoint names a probe to test, but ${data.folds > 1 ? "cross-validation trains its own" : "retrieval has none"}`,
      hint: "leave it out",
    });
  for (const key of ["lr", "weight_decay", "depth"] as const)
    if (probe[key]?.length === 0)
      problems.push({
        path: ["probe", key],
        message: `probe.${key} is an empty list`,
        hint: "give at least one value, or null",
      });
  const { lr, weight_decay, depth } = gridOf(config);
  const points = lr.length * weight_decay.length * depth.length;
  if (points > 1 && probe.held_out === 0)
    problems.push({
      path: ["probe", "held_out"],
      message: `the grid has ${points} probes, and probe.held_out is 0: nothing could choose among them but the test set`,
      hint: "set probe.held_out above 0, or give one probe.lr, probe.weight_decay and probe.depth",
    });
  if (meta.compat === "reference" && points > 1)
    problems.push({
      path: ["meta", "compat"],
      message: `the published evaluation trains one probe, but the grid has ${points}`,
      hint: "give one probe.lr, probe.weight_decay and probe.depth, or leave them out",
    });
  if (optimization.start_lr > 0 && optimization.lr === 0)
    problems.push({
      path: ["optimization", "lr"],
      message: "optimization.lr is 0: the probe would not learn",
    });
  return problems;
}

function missingKeys(config: EvalConfig) {
  const { data, eval_name } = config;
  const needed: (
    | "dataset_train"
    | "dataset_val"
    | "root_path"
    | "image_folder"
    | "num_classes"
  )[] = [];
  if (eval_name !== "retrieval") {
    needed.push("num_classes");
    const indexed =
      data.dataset_train !== undefined || data.dataset_val !== undefined;
    if (isImage(config) && !indexed) needed.push("root_path", "image_folder");
    else if (config.probe.checkpoint === null) needed.push("dataset_train");
    if (data.folds === 1 && (!isImage(config) || indexed))
      needed.push("dataset_val");
  } else needed.push("dataset_val");
  return needed.filter((key) => data[key] === undefined);
}

/** Keys that the evaluation has no use for: variables of the environment in them may be unset. */
export function unreadKeys({ data, eval_name, probe }: EvalConfig): string[] {
  const keys: string[] = [];
  if (data.dataset_train !== undefined && data.dataset_val !== undefined)
    keys.push("data.root_path", "data.image_folder");
  if (probe.checkpoint !== null || eval_name === "retrieval")
    keys.push("data.dataset_train");
  return keys;
}

/** The grid of probes. */
function gridOf({ optimization, probe, meta }: EvalConfig) {
  const one = meta.compat === "reference";
  const { lr, weight_decay } = optimization;
  const rounded = (x: number): number => Number(x.toPrecision(6));
  return {
    lr: probe.lr ?? (one ? [lr] : [0.3, 1, 3].map((x) => rounded(x * lr))),
    weight_decay: probe.weight_decay ?? [weight_decay],
    depth: probe.depth ?? (one ? [1] : [1, 4]),
  };
}

/** Fills in what follows from other keys. */
export function resolveEval(config: EvalConfig): ResolvedEvalConfig {
  const { data, pretrain, probe, logging, eval_name, tag } = config;
  const frame_step = data.frame_step ?? pretrain.frame_step ?? 4;
  const folder =
    logging.folder ??
    join(pretrain.folder, eval_name, ...(tag === null ? [] : [tag]));
  return {
    ...config,
    data: {
      ...data,
      frame_step,
      modalities: data.modalities ?? defaultModalities(config),
    },
    pretrain: { ...pretrain, frame_step },
    probe: { ...probe, ...gridOf(config) },
    logging: { folder },
  };
}

function defaultModalities({ eval_name, data }: EvalConfig) {
  const both: ("video" | "audio")[] = ["video", "audio"];
  if (eval_name === "audio_classification") return both.slice(1);
  if (eval_name === "retrieval" || eval_name === "audiovisual_classification")
    return both;
  return data.dataset_type === "audiovideodataset" ? both : both.slice(0, 1);
}

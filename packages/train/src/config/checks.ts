/** Combinations of keys that cannot work, each at the key to change. */

import { widthMultiple } from "@avjepa/models";

import { audioGrid, modelDims, videoGrid } from "./derived.ts";
import { maskProblems } from "./mask_check.ts";
import type { PretrainConfig } from "./pretrain.ts";
import type { Problem } from "./problem.ts";

/** Everything wrong with a configuration whose single keys are right. */
export function pretrainProblems(config: PretrainConfig): Problem[] {
  const grids = gridProblems(config);
  return [
    ...dataProblems(config),
    ...grids,
    ...modelProblems(config),
    ...rangeProblems(config),
    ...metaProblems(config),
    ...(grids.length === 0 ? maskProblems(config) : []),
  ];
}

function dataProblems({ app, data }: PretrainConfig): Problem[] {
  const problems: Problem[] = [];
  const add = (key: string, message: string, hint?: string): void => {
    problems.push({ path: ["data", key], message, ...(hint ? { hint } : {}) });
  };
  if (data.datasets.length === 0)
    add(
      "datasets",
      "data.datasets is empty: there is nothing to train on",
      "name an index: --set data.datasets=[clips.csv] (`bun run index DIR -o clips.csv` makes one)",
    );
  const weights = data.datasets_weights;
  if (weights && weights.length !== data.datasets.length)
    add(
      "datasets_weights",
      `data.datasets_weights has ${weights.length} weights for ${data.datasets.length} data.datasets`,
      "give one weight for each, or null",
    );
  const seen = data.modalities;
  if (seen.length === 0 || new Set(seen).size !== seen.length)
    add(
      "modalities",
      `data.modalities: expected video, audio or both once, found [${seen.join(", ")}]`,
    );
  if (app === "vjepa" && seen.includes("audio"))
    add(
      "modalities",
      "app: vjepa sees no sound, but data.modalities has audio",
      "train with app: avjepa, or data.modalities: [video]",
    );
  if (data.dataset_type === "videodataset" && seen.includes("audio"))
    add(
      "dataset_type",
      "data.dataset_type: videodataset has no sound, but data.modalities has audio",
      "data.dataset_type: audiovideodataset, or data.modalities: [video]",
    );
  if (
    data.mask_type === "random_tube" &&
    data.mask_mode === "reference" &&
    seen.includes("audio")
  )
    add(
      "mask_type",
      "data.mask_type: random_tube has no mask for sound in data.mask_mode: reference",
      "data.mask_mode: unbiased, or data.mask_type: multiblock3d",
    );
  if (data.mask_mode === "reference" && !seen.includes("video"))
    add(
      "mask_mode",
      "data.mask_mode: reference has no masks for sound alone",
      "data.mask_mode: unbiased",
    );
  if (data.audio.preset === "reference" && data.audio.duration !== null)
    problems.push({
      path: ["data", "audio", "duration"],
      message:
        "data.audio.duration has no meaning with data.audio.preset: reference",
      hint: "there the window is what the clip's frames span",
    });
  if (data.audio.preset === "reference" && data.audio.num_mel !== 128)
    problems.push({
      path: ["data", "audio", "num_mel"],
      message: `data.audio.num_mel is ${data.audio.num_mel}, but data.audio.preset: reference has 128`,
    });
  return problems;
}

/** Beyond any machine's memory; guards the arithmetic below against typos. */
const mostTokens = 2 ** 20;

function gridProblems(config: PretrainConfig): Problem[] {
  const { data } = config;
  const problems: Problem[] = [];
  if (data.modalities.includes("video")) {
    const [time, rows, columns] = videoGrid(config);
    if (time * rows * columns > mostTokens)
      problems.push({
        path: ["data", "crop_size"],
        message: `a clip has ${time} × ${rows} × ${columns} tokens; at most ${mostTokens} are supported`,
        hint: "lower data.crop_size or data.num_frames, or raise data.patch_size",
      });
    if (data.crop_size % data.patch_size !== 0)
      problems.push({
        path: ["data", "crop_size"],
        message: `data.crop_size ${data.crop_size} is not divisible by data.patch_size ${data.patch_size}`,
        hint: multiplesHint(data.crop_size, data.patch_size),
      });
    if (data.num_frames % data.tubelet_size !== 0)
      problems.push({
        path: ["data", "num_frames"],
        message: `data.num_frames ${data.num_frames} is not divisible by data.tubelet_size ${data.tubelet_size}`,
        hint: multiplesHint(data.num_frames, data.tubelet_size),
      });
  }
  if (data.modalities.includes("audio")) {
    const { rows, cols, patch } = audioGrid(config);
    if (rows * cols > mostTokens)
      problems.push({
        path: ["data", "audio", "duration"],
        message: `the sound of a clip has ${rows} × ${cols} tokens; at most ${mostTokens} are supported`,
      });
    if (data.audio.num_mel % patch !== 0)
      problems.push({
        path: ["data", "audio", "num_mel"],
        message: `data.audio.num_mel ${data.audio.num_mel} is not divisible by the patch ${patch}`,
        hint: `${multiplesHint(data.audio.num_mel, patch)}, or another data.audio.patch`,
      });
    else if (data.audio.preset === "reference" && 192 % patch !== 0)
      problems.push({
        path: ["data", "audio", "preset"],
        message: `data.audio.preset: reference has 192 columns, not divisible by the patch ${patch}`,
      });
  }
  return problems;
}

function multiplesHint(value: number, unit: number): string {
  const low = Math.floor(value / unit) * unit;
  return low > 0 ? `${low} and ${low + unit} are` : `${low + unit} is`;
}

function modelProblems(config: PretrainConfig): Problem[] {
  const dims = modelDims(config);
  const problems: Problem[] = [];
  const multiple = tableMultiple(config);
  const heads = (prefix: "" | "pred_", whose: string): void => {
    const width = dims[`${prefix}embed_dim`];
    const count = dims[`${prefix}num_heads`];
    const given = config.model[`${prefix}num_heads`] !== null;
    const path = ["model", `${prefix}${given ? "num_heads" : "embed_dim"}`];
    if (width % count !== 0)
      problems.push({
        path,
        message: `${whose}: ${count} heads do not divide the width ${width}`,
        hint: `model.${prefix}embed_dim must be a multiple of model.${prefix}num_heads`,
      });
    else if (width / count > 128)
      problems.push({
        path,
        message: `${whose}: ${width} / ${count} heads is ${width / count} columns a head; at most 128 are supported`,
        hint: `set model.${prefix}num_heads to at least ${Math.ceil(width / 128)}`,
      });
    if (width % multiple !== 0)
      problems.push({
        path: ["model", `${prefix}embed_dim`],
        message: `${whose}: the width ${width} is not divisible by ${multiple}, which its position table needs`,
      });
  };
  heads("", "encoder");
  heads("pred_", "predictor");
  return problems;
}

/** What widths must be a multiple of, for the position tables of all grids. */
function tableMultiple({ app, data, model }: PretrainConfig): number {
  const picture = data.num_frames === 1 ? [1, 1] : [1, 1, 1];
  const multiples = [
    widthMultiple(picture, model.uniform_power),
    ...(app === "avjepa" ? [widthMultiple([1, 1], true)] : []),
  ];
  return Math.max(...multiples);
}

/** Pairs that are a range: least first. */
function rangeProblems({
  data_aug,
  mask,
  optimization,
}: PretrainConfig): Problem[] {
  const problems: Problem[] = [];
  const ordered = (
    path: (string | number)[],
    range: readonly [number, number] | undefined,
  ): void => {
    if (range && range[0] > range[1])
      problems.push({
        path,
        message: `${path.at(-1)}: the least value ${range[0]} is above the greatest ${range[1]}`,
        hint: `write [${range[1]}, ${range[0]}]`,
      });
  };
  ordered(
    ["data_aug", "random_resize_aspect_ratio"],
    data_aug.random_resize_aspect_ratio,
  );
  ordered(["data_aug", "random_resize_scale"], data_aug.random_resize_scale);
  mask.forEach((entry, i) => {
    for (const key of [
      "spatial_scale",
      "temporal_scale",
      "aspect_ratio",
    ] as const)
      ordered(["mask", i, key], entry[key]);
  });
  optimization.betas.forEach((beta, i) => {
    if (beta >= 1)
      problems.push({
        path: ["optimization", "betas", i],
        message: `optimization.betas[${i}] is ${beta}: expected a number below 1`,
      });
  });
  return problems;
}

function metaProblems({ meta }: PretrainConfig): Problem[] {
  if (meta.dtype !== "float16") return [];
  return [
    {
      path: ["meta", "dtype"],
      message:
        "meta.dtype: float16 needs a loss scaler, which no device has yet",
      hint: "bfloat16 needs none and is as fast",
    },
  ];
}

/** Things that work and are probably not meant. */
export function pretrainWarnings(config: PretrainConfig): string[] {
  const { data } = config;
  const { epochs, ipe_scale, warmup } = config.optimization;
  const warnings: string[] = [];
  const { online_probe_train, online_probe_val } = config.logging;
  if ((online_probe_train === null) !== (online_probe_val === null))
    warnings.push(
      "only one of logging.online_probe_train and logging.online_probe_val is given: there is no online probe",
    );
  if (warmup >= epochs * ipe_scale)
    warnings.push(
      `optimization.warmup is ${warmup} of ${epochs} epochs: the learning rate only rises`,
    );
  const [time, rows, columns] = videoGrid(config);
  if (data.modalities.includes("video") && time * rows * columns < 8)
    warnings.push(
      `a clip has only ${time * rows * columns} tokens (${time} × ${rows} × ${columns})`,
    );
  if (
    data.mask_mode === "reference" &&
    data.modalities.includes("audio") &&
    config.mask.some(({ max_keep }) => max_keep !== null)
  )
    warnings.push(
      "mask[].max_keep has no effect with sound under data.mask_mode: reference, as published; data.mask_mode: unbiased keeps to it",
    );
  return warnings;
}

/** A frozen encoder from a run's checkpoint: the model is in it. */

import { existsSync, readdirSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";

import { AvjepaError, type nn, loadSafetensors } from "@avjepa/core";
import {
  AudioVideoEncoder,
  Blank,
  describeForeignEncoder,
  type ForeignHints,
  freeze,
  isForeignCheckpoint,
  loadForeignWeights,
  readForeignCheckpoint,
  VideoEncoder,
  type VitDims,
} from "@avjepa/models";

import { fileEntry } from "./checkpoint/state.ts";
import { type Checkpoint, openCheckpoint } from "./checkpoint/store.ts";
import {
  type ModelSize,
  modelDims,
  modelSizes,
  type PortableConfig,
  type ResolvedPretrainConfig,
} from "./config/index.ts";

import { buildModels, type Models, modelNamesInFiles } from "./models.ts";

/** How the model's sound was made: a checkpoint's `audio`. */
export interface AudioConvention {
  preset: "standard" | "reference";
  mean: number;
  std: number;
  num_mel: number;
  /** Patches along mel bands and time. */
  rows: number;
  cols: number;
  patch: number;
  /** Columns of the spectrogram, and the seconds they cover. */
  frames: number;
  seconds: number;
}

/** What a checkpoint says of its encoder, before its weights are read. */
export interface EncoderFacts {
  dims: VitDims;
  /** As the run had them. */
  crop: number;
  frames: number;
  patch: number;
  tubelet: number;
  uniformPower: boolean;
  positions: "sincos" | "rotary";
  /** null: the model has no sound. */
  audio: AudioConvention | null;
}

/** An encoder without gradients. */
export interface FrozenModel {
  encoder: VideoEncoder | AudioVideoEncoder;
  facts: EncoderFacts;
  /** Where it came from, and a hash of its weights. */
  path: string;
  hash: string;
  /** What the user should know, a line each. */
  notes: string[];
}

/** What is wanted of {@link loadFrozenModel}. */
export interface FrozenModelOptions {
  key: "encoder" | "target_encoder";
  device: string;
  /** Side of the picture and frames of a clip in use; default: the run's. */
  crop?: number;
  frames?: number;
  /** Of published checkpoints: what their weights do not say, frames of a clip and attention heads. */
  hints?: ForeignHints;
  /** Of published checkpoints: patterns of weights that may be missing. */
  allowMissing?: readonly string[];
  /** Of published checkpoints at another size: `analytic` is the published evaluations' way. */
  positions?: "interpolate" | "analytic";
}

/**
 * The checkpoint that a configuration names: `name` in `folder` or as a path of
 * its own, or without a name the folder's newest.
 *
 * @throws AvjepaError AVJ_CHECKPOINT listing the checkpoints that are there.
 */
export function checkpointPath(folder: string, name: string | null): string {
  if (name === null) return folder;
  const inFolder = isAbsolute(name) ? name : join(folder, name);
  if (existsSync(inFolder)) return inFolder;
  if (existsSync(name)) return name;
  const names = existsSync(folder) ? checkpointsIn(folder) : undefined;
  if (names === undefined)
    throw new AvjepaError(
      "AVJ_CHECKPOINT",
      `there is no run folder ${folder} to take the encoder from`,
      { hint: "name it: --set pretrain.folder=runs/first" },
    );
  // The folder may itself be the checkpoint.
  if (existsSync(join(folder, "state.json"))) return folder;
  throw new AvjepaError(
    "AVJ_CHECKPOINT",
    `there is no checkpoint ${name} in ${folder}`,
    {
      hint:
        names.length === 0
          ? "the folder has none; name another: --set pretrain.folder=runs/first"
          : `there are ${names.join(", ")}: --set pretrain.checkpoint=${names.find((n) => n.endsWith("-latest")) ?? names[0]}`,
    },
  );
}

function checkpointsIn(folder: string): string[] {
  if (!statSync(folder).isDirectory()) return [];
  return readdirSync(folder)
    .filter(
      (name) =>
        existsSync(join(folder, name, "state.json")) ||
        name.endsWith(".pth.tar"),
    )
    .sort();
}

/** What a checkpoint's own configuration says of its encoder. */
export function encoderFacts({ state }: Checkpoint): EncoderFacts {
  const config = state.config as PortableConfig &
    Pick<ResolvedPretrainConfig, "data" | "model">;
  const { embed_dim, depth, num_heads, mlp_ratio } = modelDims(config);
  const { data, model } = config;
  return {
    dims: {
      embedDim: embed_dim,
      depth,
      numHeads: num_heads,
      mlpRatio: mlp_ratio,
    },
    crop: data.crop_size,
    frames: data.num_frames,
    patch: data.patch_size,
    // A picture has no more frames.
    tubelet: data.num_frames === 1 ? 1 : data.tubelet_size,
    uniformPower: model.uniform_power,
    positions: "sincos",
    audio: (state.audio as AudioConvention | null) ?? null,
  };
}

/** Makes an encoder of these sizes, without initial values. */
function blankEncoder(
  facts: EncoderFacts,
  options: Omit<FrozenModelOptions, "key">,
): VideoEncoder | AudioVideoEncoder {
  const common = {
    ...facts.dims,
    crop: options.crop ?? facts.crop,
    frames: options.frames ?? facts.frames,
    tubelet: facts.tubelet,
    patch: facts.patch,
    uniformPower: facts.uniformPower,
    device: options.device,
    generator: new Blank(),
  };
  if (facts.audio === null)
    return new VideoEncoder({ ...common, positions: facts.positions });
  const { rows, patch, frames } = facts.audio;
  return new AudioVideoEncoder({
    ...common,
    mel: rows * patch,
    audioFrames: frames,
    audioPatch: patch,
  });
}

/**
 * Reads the encoder of a checkpoint: one of ours (its directory, a link to it,
 * or a run folder), or a published one.
 *
 * @throws AvjepaError AVJ_CHECKPOINT, AVJ_FOREIGN; AVJ_STATE_DICT when it has no such encoder.
 */
export async function loadFrozenModel(
  path: string,
  options: FrozenModelOptions,
): Promise<FrozenModel> {
  if (isForeignCheckpoint(path)) return loadPublishedModel(path, options);
  const checkpoint = await openCheckpoint(path);
  const facts = encoderFacts(checkpoint);
  const { key, device } = options;
  const { crop, frames } = inputSize(facts, options);
  checkSizes(facts, crop, frames);
  const encoder = blankEncoder(facts, { crop, frames, device });
  const file = join(checkpoint.path, "weights.safetensors");
  const prefix = `${key}.`;
  const { tensors } = await loadSafetensors(file, {
    device,
    keys: (name) => name.startsWith(prefix),
  });
  const notes: string[] = [];
  try {
    const weights = Object.fromEntries(
      Object.entries(tensors).map(([name, values]) => [
        name.slice(prefix.length),
        values,
      ]),
    );
    if (Object.keys(weights).length === 0)
      throw new AvjepaError(
        "AVJ_STATE_DICT",
        `${checkpoint.path} has no ${key}`,
        { hint: "set pretrain.checkpoint_key to encoder or target_encoder" },
      );
    notes.push(...fitPositions(encoder, weights, facts, crop, frames));
    encoder.loadStateDict(weights);
  } finally {
    for (const values of Object.values(tensors)) values.dispose();
  }
  freeze(encoder);
  const hash = checkpoint.state.files["weights.safetensors"]?.sha256 ?? "";
  return { encoder, facts, path: checkpoint.path, hash, notes };
}

/** A model of pictures is given pictures, however many frames a clip has. */
function inputSize(
  facts: EncoderFacts,
  options: Pick<FrozenModelOptions, "crop" | "frames">,
): { crop: number; frames: number } {
  const { crop = facts.crop, frames = facts.frames } = options;
  return { crop, frames: facts.frames === 1 ? 1 : frames };
}

/** The encoder of a file of V-JEPA, AVJEPA or V-JEPA 2. */
async function loadPublishedModel(
  path: string,
  options: FrozenModelOptions,
): Promise<FrozenModel> {
  const { key, device, allowMissing = [], positions = "interpolate" } = options;
  // The target encoder goes by several names there, or is the only encoder.
  const wanted = key === "encoder" ? { key } : {};
  const checkpoint = await readForeignCheckpoint(path, wanted);
  const found = await describeForeignEncoder(checkpoint, options.hints);
  const { audio, ...own } = found;
  const facts: EncoderFacts = {
    ...own,
    audio: audio === null ? null : publishedSound(audio),
  };
  const { crop, frames } = inputSize(facts, options);
  checkSizes(facts, crop, frames);
  const encoder = blankEncoder(facts, { crop, frames, device });
  const notes = await loadForeignWeights(encoder, checkpoint.weights, {
    allowMissing,
    positions,
    path,
  });
  freeze(encoder);
  const file = statSync(path).isDirectory()
    ? join(path, "model.safetensors")
    : path;
  const { sha256: hash } = await fileEntry(file);
  return { encoder, facts, path, hash, notes };
}

/** The published audio-visual code's spectrogram: decibels, as they are. */
function publishedSound(audio: {
  mel: number;
  frames: number;
  patch: readonly [mel: number, frames: number];
}): AudioConvention {
  const [patch, width] = audio.patch;
  return {
    preset: "reference",
    mean: 0,
    std: 0.5,
    num_mel: audio.mel,
    rows: audio.mel / patch,
    cols: audio.frames / width,
    patch,
    frames: audio.frames,
    // 16 frames, 4 apart, at 30 a second.
    seconds: 64 / 30,
  };
}

/** Context encoder, predictor and target encoder, all without gradients. */
export interface FrozenModels extends Omit<FrozenModel, "encoder"> {
  models: Models;
  /** The configuration of the run, as far as its checkpoint keeps it. */
  config: ResolvedPretrainConfig;
}

/**
 * Reads all of a run's models.
 *
 * @throws AvjepaError as {@link loadFrozenModel}.
 */
export async function loadFrozenModels(
  path: string,
  options: Omit<FrozenModelOptions, "key">,
): Promise<FrozenModels> {
  if (isForeignCheckpoint(path))
    throw new AvjepaError(
      "AVJ_CONFIG",
      `${path} is a published checkpoint, but this needs the predictor of a run of AV-JEPA`,
      { hint: "name a run folder or one of its checkpoints" },
    );
  const checkpoint = await openCheckpoint(path);
  const facts = encoderFacts(checkpoint);
  const { crop = facts.crop, frames = facts.frames, device } = options;
  checkSizes(facts, crop, frames);
  const kept = checkpoint.state.config as unknown as ResolvedPretrainConfig;
  const config: ResolvedPretrainConfig = {
    ...kept,
    data: { ...kept.data, crop_size: crop, num_frames: frames },
    // The sound is as it was, whatever the clips in use are.
    ...(facts.audio === null
      ? {}
      : {
          data: {
            ...kept.data,
            crop_size: crop,
            num_frames: frames,
            audio: { ...kept.data.audio, duration: facts.audio.seconds },
          },
        }),
    optimization: { ...kept.optimization, activation_checkpointing: "none" },
  };
  const models = buildModels(config, device);
  const { tensors } = await loadSafetensors(
    join(checkpoint.path, "weights.safetensors"),
    { device },
  );
  const notes: string[] = [];
  try {
    for (const [part, name] of Object.entries(modelNamesInFiles)) {
      const module = models[part as keyof Models];
      const weights = Object.fromEntries(
        Object.entries(tensors)
          .filter(([key]) => key.startsWith(`${name}.`))
          .map(([key, values]) => [key.slice(name.length + 1), values]),
      );
      notes.push(...fitPositions(module, weights, facts, crop, frames));
      module.loadStateDict(weights);
      freeze(module);
    }
  } finally {
    for (const values of Object.values(tensors)) values.dispose();
  }
  const hash = checkpoint.state.files["weights.safetensors"]?.sha256 ?? "";
  return { models, facts, config, path: checkpoint.path, hash, notes };
}

/**
 * Position tables are formulas: at another size than the run's the one of that
 * size takes the checkpoint's place.
 */
function fitPositions(
  encoder: nn.Module,
  weights: nn.StateDict,
  facts: Pick<EncoderFacts, "crop" | "frames">,
  crop: number,
  frames: number,
): string[] {
  const notes: string[] = [];
  for (const [name, parameter] of encoder.namedParameters()) {
    const given = weights[name];
    if (!isVideoTable.test(name) || given === undefined) continue;
    if (given.shape.join() === parameter.shape.join()) continue;
    weights[name] = parameter;
    notes.push(
      `${name}: the model was trained on ${facts.frames} frames of ${facts.crop} pixels; the table of sines and cosines of ${frames} frames of ${crop} pixels is used`,
    );
  }
  return notes;
}

const isVideoTable = /^((video_)?pos_embed|predictor_pos_embed(_v)?)$/;

function checkSizes(facts: EncoderFacts, crop: number, frames: number): void {
  const fail = (what: string, hint: string): never => {
    throw new AvjepaError("AVJ_CONFIG", what, { hint });
  };
  if (crop % facts.patch !== 0)
    fail(
      `a picture of ${crop} pixels has no whole number of the model's patches of ${facts.patch}`,
      `set the resolution to a multiple of ${facts.patch}; the model was trained at ${facts.crop}`,
    );
  if (facts.frames > 1 && frames % facts.tubelet !== 0)
    fail(
      `a clip of ${frames} frames has no whole number of the model's tubelets of ${facts.tubelet}`,
      `set data.frames_per_clip to a multiple of ${facts.tubelet}; the model was trained on ${facts.frames}`,
    );
}

/**
 * Refuses a configuration that says another model than the checkpoint holds.
 *
 * @throws AvjepaError AVJ_CONFIG naming the keys, and how to set them.
 */
export function requireModel(
  facts: EncoderFacts,
  said: {
    model_name: keyof typeof modelSizes | null;
    patch_size: number | null;
    tubelet_size: number | null;
  },
  path: string,
  sections: Partial<Record<keyof typeof said, string>> = {},
): void {
  const keyOf = (name: string): string =>
    `${sections[name as keyof typeof said] ?? "pretrain"}.${name}`;
  const wrong: [key: string, said: string, found: string][] = [];
  if (said.model_name !== null) {
    const { embed_dim } = modelSizes[said.model_name] as ModelSize;
    const named = Object.entries(modelSizes).find(
      ([, size]) => size.embed_dim === facts.dims.embedDim,
    )?.[0];
    if (embed_dim !== facts.dims.embedDim)
      wrong.push([
        "model_name",
        `${said.model_name} (width ${embed_dim})`,
        named ?? "null",
      ]);
  }
  for (const [key, value] of [
    ["patch_size", facts.patch],
    ["tubelet_size", facts.tubelet],
  ] as const) {
    const given = said[key];
    // Files of pictures say a tubelet that a model of pictures does not have.
    if (key === "tubelet_size" && facts.frames === 1) continue;
    if (given !== null && given !== value)
      wrong.push([key, String(given), String(value)]);
  }
  if (wrong.length === 0) return;
  throw new AvjepaError(
    "AVJ_CONFIG",
    [
      `${path} holds another model than the configuration says:`,
      ...wrong.map(
        ([key, given, found]) =>
          `${keyOf(key)} is ${given}, but the checkpoint's is ${found === "null" ? `of width ${facts.dims.embedDim}` : found}`,
      ),
    ].join("\n"),
    {
      hint: `name the right checkpoint, or set ${wrong.map(([key, , found]) => `--set ${keyOf(key)}=${found}`).join(" ")}`,
    },
  );
}

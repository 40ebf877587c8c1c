/** A frozen encoder from a run's checkpoint, or a published one: the model is in it. */

import { statSync } from "node:fs";
import { join } from "node:path";

import { AvjepaError, loadSafetensors } from "@avjepa/core";
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
} from "@avjepa/models";

import { fileEntry } from "../checkpoint/state.ts";
import { openCheckpoint } from "../checkpoint/store.ts";
import {
  type AudioConvention,
  checkSizes,
  type EncoderFacts,
  encoderFacts,
} from "./facts.ts";
import { loadFrozen } from "./weights.ts";

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
  const { tensors } = await loadSafetensors(file, {
    device,
    keys: (name) => name.startsWith(`${key}.`),
  });
  let notes: string[];
  try {
    if (Object.keys(tensors).length === 0)
      throw new AvjepaError(
        "AVJ_STATE_DICT",
        `${checkpoint.path} has no ${key}`,
        { hint: "set pretrain.checkpoint_key to encoder or target_encoder" },
      );
    notes = loadFrozen(encoder, key, tensors, facts, { crop, frames });
  } finally {
    for (const values of Object.values(tensors)) values.dispose();
  }
  const hash = checkpoint.state.files["weights.safetensors"]?.sha256 ?? "";
  return { encoder, facts, path: checkpoint.path, hash, notes };
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

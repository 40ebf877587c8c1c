/** What a file's weights say of the model they belong to. */

import { AvjepaError } from "@avjepa/core";
import type {
  AttentiveClassifierOptions,
  Projection,
} from "../attentive-pooler.ts";
import { positionTable } from "../positions.ts";
import { vitSizes, type VitDims } from "../sizes.ts";
import type {
  ForeignCheckpoint,
  ForeignTensor,
  ForeignWeights,
} from "./types.ts";

/** What weights do not say themselves. */
export interface ForeignHints {
  /** Heads of the attention; default those of the named size of this width and depth. */
  numHeads?: number;
  /** Frames of a clip; default 16. */
  frames?: number;
  /** Mel bands of a spectrogram; default 128. */
  mel?: number;
}

/** An encoder, as its weights show it. */
export interface ForeignEncoder {
  dims: VitDims;
  /** Side of the picture, frames of a clip (1: pictures), side of a patch, frames of a patch. */
  crop: number;
  frames: number;
  patch: number;
  tubelet: number;
  positions: "sincos" | "rotary";
  /** Which table of three axes the file has; see positionTable. */
  uniformPower: boolean;
  /** null: the model has no sound. */
  audio: {
    mel: number;
    frames: number;
    patch: [mel: number, frames: number];
  } | null;
}

/**
 * Size and input of the encoder in `weights` (default those of the checkpoint).
 *
 * @throws AvjepaError AVJ_FOREIGN when they are not an encoder's, or leave something open that no hint says.
 */
export async function describeForeignEncoder(
  checkpoint: ForeignCheckpoint,
  hints: ForeignHints = {},
  weights: ForeignWeights = checkpoint.weights,
): Promise<ForeignEncoder> {
  const { path, config } = checkpoint;
  const need = (key: string): ForeignTensor => {
    const found = weights.get(key);
    if (found !== undefined) return found;
    throw new AvjepaError(
      "AVJ_FOREIGN",
      `${path}: the weights are no encoder's: there is no ${key}`,
      {
        hint: `they begin with ${[...weights.keys()].slice(0, 4).join(", ")}`,
      },
    );
  };
  const kernel = need("patch_embed.proj.weight").shape;
  const embedDim = kernel[0] as number;
  const depth = countBlocks(weights, "blocks");
  const hidden = need("blocks.0.mlp.fc1.weight").shape[0] as number;
  const image = kernel.length === 4;
  const patch = kernel.at(-1) as number;
  const tubelet = image ? 1 : (kernel[2] as number);
  const fromConfig = (key: string) =>
    typeof config?.[key] === "number" ? (config[key] as number) : undefined;
  const frames = image
    ? 1
    : (hints.frames ?? fromConfig("frames_per_clip") ?? 16);
  const numHeads =
    hints.numHeads ??
    fromConfig("num_attention_heads") ??
    headsOf(path, embedDim, depth);
  const dims = { embedDim, depth, numHeads, mlpRatio: hidden / embedDim };
  const table = weights.get("pos_embed") ?? weights.get("video_pos_embed");
  const positions = ["vjepa2", "hf_vjepa2"].includes(checkpoint.layout)
    ? "rotary"
    : "sincos";
  const places = positions === "sincos" ? table?.shape[1] : undefined;
  const side =
    places === undefined ? undefined : Math.sqrt((places * tubelet) / frames);
  if (side !== undefined && !Number.isInteger(side))
    throw new AvjepaError(
      "AVJ_FOREIGN",
      `${path}: its position table has ${places} places, which is no square picture for ${frames} frames of ${tubelet} a patch`,
      { hint: "say how many frames the model was trained with" },
    );
  const crop =
    side === undefined ? (fromConfig("crop_size") ?? 256) : side * patch;
  return {
    dims,
    crop,
    frames,
    patch,
    tubelet,
    positions,
    uniformPower:
      image || side === undefined || table === undefined
        ? true
        : await isUniform(table, embedDim, [frames / tubelet, side, side]),
    audio: audioOf(weights, hints.mel ?? 128),
  };
}

function audioOf(
  weights: ForeignWeights,
  mel: number,
): ForeignEncoder["audio"] {
  const kernel = weights.get("patch_embed.audio_proj.weight")?.shape;
  const places = weights.get("audio_pos_embed")?.shape[1];
  if (kernel === undefined) return null;
  const patch: [number, number] = [kernel[2] as number, kernel[3] as number];
  const rows = Math.floor(mel / patch[0]);
  const columns = places === undefined ? 12 : Math.floor(places / rows);
  return { mel, frames: columns * patch[1], patch };
}

function headsOf(path: string, embedDim: number, depth: number): number {
  const same = Object.values(vitSizes).filter(
    (size) => size.embedDim === embedDim,
  );
  const heads = (same.find((size) => size.depth === depth) ?? same[0])
    ?.numHeads;
  if (heads !== undefined) return heads;
  throw new AvjepaError(
    "AVJ_FOREIGN",
    `${path}: a model of width ${embedDim} and depth ${depth} has no name, and a file does not say how many heads it has`,
    {
      hint: "set model.num_heads, or pretrain.num_heads of an evaluation, to it",
    },
  );
}

/** Which of the two tables of this grid it is; the difference is large in the last column. */
async function isUniform(
  table: ForeignTensor,
  dim: number,
  grid: readonly number[],
): Promise<boolean> {
  const values = (await table.read()) as Float32Array;
  const distance = (uniformPower: boolean) => {
    const own = positionTable(dim, grid, { uniformPower });
    return own.reduce(
      (sum, value, i) => sum + Math.abs(value - Number(values[i])),
      0,
    );
  };
  // Only widths of whole quarters have the other table.
  return dim % 8 !== 0 || distance(true) <= distance(false);
}

function countBlocks(weights: ForeignWeights, prefix: string): number {
  let count = 0;
  while (weights.has(`${prefix}.${count}.norm1.weight`)) count++;
  return count;
}

/**
 * Size of the classifier in a probe's weights.
 *
 * @param options.projection whether the layer after cross-attention is applied,
 *   which weights do not say: `unused` in V-JEPA's probes, `applied` in AVJEPA's.
 *   Weights without it need not be told.
 * @param options.numHeads those of the encoder.
 * @throws AvjepaError AVJ_FOREIGN when they are not a classifier's, or the projection is not said.
 */
export function describeForeignProbe(
  checkpoint: ForeignCheckpoint,
  options: { numHeads: number; projection?: Exclude<Projection, "absent"> },
): AttentiveClassifierOptions {
  const { path, probe } = checkpoint;
  const query = probe?.get("pooler.query_tokens");
  const linear = probe?.get("linear.weight");
  const hidden = probe?.get("pooler.cross_attention_block.mlp.fc1.weight");
  if (!probe || !query || !linear || !hidden)
    throw new AvjepaError(
      "AVJ_FOREIGN",
      `${path} holds no attentive classifier`,
    );
  const stored = probe.has("pooler.cross_attention_block.xattn.proj.weight");
  if (stored && options.projection === undefined)
    throw new AvjepaError(
      "AVJ_FOREIGN",
      `${path}: whether the probe applies the projection after cross-attention is not in its weights`,
      { hint: "say it: unused for V-JEPA's probes, applied for AVJEPA's" },
    );
  const dim = query.shape[2] as number;
  return {
    dim,
    numHeads: options.numHeads,
    depth: 1 + countBlocks(probe, "pooler.blocks"),
    mlpRatio: (hidden.shape[0] as number) / dim,
    classes: linear.shape[0] as number,
    projection: stored ? (options.projection as Projection) : "absent",
    // V-JEPA 2 dropped the projection and moved the blocks in front.
    blocks: stored ? "after" : "before",
  };
}

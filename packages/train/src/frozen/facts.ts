/** What a checkpoint says of its encoder, and what may be asked of that. */

import { AvjepaError } from "@avjepa/core";
import type { VitDims } from "@avjepa/models";

import type { Checkpoint } from "../checkpoint/store.ts";
import {
  type ModelSize,
  modelDims,
  modelSizes,
  type PortableConfig,
  type ResolvedPretrainConfig,
} from "../config/index.ts";

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

/** @throws AvjepaError AVJ_CONFIG when clips of this size do not divide into the model's patches. */
export function checkSizes(
  facts: EncoderFacts,
  crop: number,
  frames: number,
): void {
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

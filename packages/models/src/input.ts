/** What encoders take in, and how it is cut into tokens. */

import { AvjepaError, type DType, type Tensor } from "@avjepa/core";
import type { Grid } from "./positions.ts";
import type { PackedIndices } from "./tokens.ts";

/**
 * A batch.
 *
 * Video is uint8 `[B, T, H, W, 3]` as decoders write it (normalised on the
 * device), or float `[B, 3, T, H, W]`, already normalised. Pictures are the
 * same without T. Sound is a spectrogram `[B, 1, mel, frames]`.
 */
export interface EncoderInput {
  video?: Tensor | undefined;
  audio?: Tensor | undefined;
  /** The tokens that are really there (see allTokens); default: all of what is given. */
  present?: PackedIndices | undefined;
}

/** ImageNet's, by which pixels in 0 … 1 are normalised. */
export const imagenetMean: readonly number[] = [0.485, 0.456, 0.406];
export const imagenetStd: readonly number[] = [0.229, 0.224, 0.225];

/** `[B, T, H, W]` of a video, T = 1 for pictures. @throws AvjepaError AVJ_SHAPE naming the layouts. */
export function videoSize(
  x: Tensor,
  image: boolean,
): [samples: number, frames: number, height: number, width: number] {
  const bytes = x.dtype === "uint8";
  const channels = bytes ? x.shape.at(-1) : x.shape[1];
  const ndim = image ? 4 : 5;
  if (x.ndim !== ndim || channels !== 3) {
    const time = image ? "" : "T, ";
    throw new AvjepaError(
      "AVJ_SHAPE",
      `the encoder's video is [${x.shape.join(", ")}] of ${x.dtype}`,
      {
        hint: `it must be uint8 [B, ${time}H, W, 3] or float [B, 3, ${time}H, W]`,
      },
    );
  }
  const rest = bytes ? x.shape.slice(1, -1) : x.shape.slice(2);
  const [frames, height, width] = image ? [1, ...rest] : rest;
  return [
    x.shape[0] as number,
    frames as number,
    height as number,
    width as number,
  ];
}

/** `[B, mel, frames]` of a spectrogram. @throws AvjepaError AVJ_SHAPE */
export function audioSize(
  x: Tensor,
): [samples: number, mel: number, frames: number] {
  if (x.ndim !== 4 || x.shape[1] !== 1) {
    throw new AvjepaError(
      "AVJ_SHAPE",
      `the encoder's audio is [${x.shape.join(", ")}]`,
      {
        hint: "it must be a spectrogram, float [B, 1, mel, frames]",
      },
    );
  }
  return [x.shape[0] as number, x.shape[2] as number, x.shape[3] as number];
}

/** Whole patches along each axis. @throws AvjepaError AVJ_SHAPE when there is none along one. */
export function gridOf(
  what: string,
  size: readonly number[],
  patch: readonly number[],
): Grid {
  const grid = size.map((length, axis) =>
    Math.floor(length / (patch[axis] as number)),
  );
  if (grid.some((length) => length === 0)) {
    throw new AvjepaError(
      "AVJ_SHAPE",
      `${what} of ${size.join(" × ")} holds no patch of ${patch.join(" × ")}`,
      {
        hint: "give a larger input",
      },
    );
  }
  return grid;
}

/** In the model's type, where one of the two is float64. Bytes stay bytes. */
export function inModelType(x: Tensor, dtype: DType): Tensor {
  const differs =
    x.dtype !== dtype &&
    x.dtype !== "uint8" &&
    (x.dtype === "float64" || dtype === "float64");
  return differs ? x.cast(dtype) : x;
}

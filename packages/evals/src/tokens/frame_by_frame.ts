/** A model of pictures on video: each frame is a picture, and their tokens make one sequence. */

import { AvjepaError, type Tensor } from "@avjepa/core";
import {
  type EncoderInput,
  type PackedIndices,
  Tokens,
  VIDEO,
} from "@avjepa/models";

import type { FrozenEncoder } from "./encode_clips.ts";

/** Gives clips to an encoder of pictures. Tokens are in the order (frame, row, column). */
export class FrameByFrame implements FrozenEncoder {
  readonly #encoder: FrozenEncoder;

  constructor(encoder: FrozenEncoder) {
    this.#encoder = encoder;
  }

  /**
   * @param input `video` of clips, and in `present` the tokens that they have,
   *   where a token is of one frame.
   * @throws AvjepaError AVJ_ARGUMENT for sound.
   */
  forward({ video, present }: EncoderInput): Tokens {
    if (video === undefined || present === undefined)
      throw new AvjepaError(
        "AVJ_ARGUMENT",
        "a model of pictures is given clips, and the tokens that they have",
      );
    const frames = framesOf(video);
    const samples = frames.shape[0] as number;
    const { data } = this.#encoder.forward({
      video: frames,
      present: indicesOfFrames(present, samples),
    });
    return new Tokens(data, present);
  }
}

/** `[B·T, …]` of uint8 `[B, T, H, W, 3]` or float `[B, 3, T, H, W]`. */
function framesOf(video: Tensor): Tensor {
  const bytes = video.dtype === "uint8";
  const clips = bytes ? video : video.permute(0, 2, 1, 3, 4);
  const [rows = 0, time = 0, ...picture] = clips.shape as number[];
  return clips.reshape(rows * time, ...picture);
}

/** The same tokens, frame by frame: a row has all its frames, or none. */
function indicesOfFrames(clips: PackedIndices, samples: number): PackedIndices {
  const time = samples / clips.samples;
  const { offsets, position } = clips;
  const most = position.reduce((a, b) => Math.max(a, b), -1) + 1;
  const places = most / time;
  const starts = new Int32Array(samples + 1);
  for (let row = 0; row < clips.samples; row++) {
    const [from, to] = [offsets[row]!, offsets[row + 1]!];
    if (!Number.isInteger(places) || (to - from) % most !== 0)
      throw new AvjepaError(
        "AVJ_ARGUMENT",
        `clip ${row} has ${to - from} tokens, which are not those of ${time} whole pictures`,
      );
    const each = (to - from) / time;
    for (let t = 0; t < time; t++)
      starts[row * time + t + 1] = from + (t + 1) * each;
  }
  return {
    samples,
    masks: 1,
    offsets: starts,
    position: position.map((place) => place % places),
    modality: new Uint8Array(position.length).fill(VIDEO),
  };
}

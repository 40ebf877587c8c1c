/** A batch of noise with masks of fixed lengths, as the loader would hand it to the training step. */

import { tensor } from "@avjepa/core";
import { allTokens, packMasks } from "@avjepa/models";
import type { MaskLength, TrainBatch } from "@avjepa/train";

/** What a clip is made of. */
export interface ClipShape {
  frames: number;
  /** Side of a frame in pixels. */
  crop: number;
  /** Tokens of a clip's picture. */
  videoTokens: number;
  /** Mel bands, columns and tokens of its sound; null for none. */
  audio: { mel: number; frames: number; tokens: number } | null;
}

/** `clips` clips under masks of these lengths; the same values every time. */
export function syntheticBatch(
  clips: number,
  shape: ClipShape,
  masks: readonly MaskLength[],
): TrainBatch {
  const random = uniforms();
  const { frames, crop, videoTokens, audio } = shape;
  const pixels = Uint8Array.from(
    { length: clips * frames * crop ** 2 * 3 },
    () => Math.floor(256 * random()),
  );
  const sound =
    audio &&
    Float32Array.from(
      { length: clips * audio.mel * audio.frames },
      () => 2 * random() - 1,
    );
  const drawn = masks.map((mask) =>
    Array.from({ length: clips }, () => ({
      video: split(videoTokens, mask.context.video, mask.target.video, random),
      audio: split(
        audio?.tokens ?? 0,
        mask.context.audio,
        mask.target.audio,
        random,
      ),
    })),
  );
  const lists = (kind: "context" | "target") =>
    packMasks({
      video: drawn.map((mask) => mask.map(({ video }) => video[kind])),
      ...(audio
        ? { audio: drawn.map((mask) => mask.map((clip) => clip.audio[kind])) }
        : {}),
    });
  return {
    upload: (device) => ({
      video: tensor(pixels, [clips, frames, crop, crop, 3], { device }),
      ...(audio && sound
        ? {
            audio: tensor(sound, [clips, 1, audio.mel, audio.frames], {
              device,
            }),
          }
        : {}),
    }),
    present: allTokens(clips, {
      video: videoTokens,
      audio: audio?.tokens ?? 0,
    }),
    context: lists("context"),
    targets: lists("target"),
    clips: Array.from({ length: clips }, (_, index) => ({
      pass: 0,
      index,
      clip: 0,
    })),
  };
}

/** Two sets of positions that do not meet, each ascending. */
function split(
  tokens: number,
  context: number,
  target: number,
  random: () => number,
): { context: Int32Array; target: Int32Array } {
  const order = Int32Array.from({ length: tokens }, (_, i) => i);
  for (let i = tokens - 1; i > 0; i--) {
    const j = Math.floor((i + 1) * random());
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return {
    context: order.slice(0, context).sort(),
    target: order.slice(context, context + target).sort(),
  };
}

/** A 32-bit linear congruential generator. */
function uniforms(): () => number {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

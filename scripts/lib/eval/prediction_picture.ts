/** Clips beside what was drawn of them. */

import {
  type Canvas,
  type DrawnPatches,
  paintAudio,
  paintVideo,
  type PatchSizes,
} from "@avjepa/evals";
import type { ClipBatch } from "@avjepa/data";
import { imagenetMean, imagenetStd } from "@avjepa/models";
import { encode } from "fast-png";
import { writeFileSync } from "node:fs";

/** Host copies of a batch's drawn patches. */
export interface DrawnValues extends Pick<
  DrawnPatches,
  "modality" | "source" | "rows"
> {
  drawn: Float32Array;
  target: Float32Array;
}

const gap = 4;
/** Grey of what the encoder did not see, as a normalised value. */
const hidden = Number.NaN;

/**
 * Writes a row's picture under one mask: the clip, what the encoder saw of it,
 * and what was drawn from features; frames side by side, the sound below.
 *
 * @param sequence of the masks: mask · rows + row.
 */
export function writeDrawing(
  path: string,
  batch: ClipBatch,
  values: readonly DrawnValues[],
  tokensOf: (rows: DrawnValues) => { at: number; position: number }[],
  sizes: PatchSizes,
): void {
  const strips: Image[] = [];
  for (const modality of ["video", "audio"] as const) {
    const own = values.filter((one) => one.modality === modality);
    if (own.length === 0) continue;
    const shape =
      modality === "video" ? videoShape(batch, sizes) : audioShape(batch);
    const canvases = (["truth", "seen", "drawn"] as const).map((kind) =>
      painted(kind, modality, own, tokensOf, shape, sizes),
    );
    const range = rangeOf(canvases[0]!);
    for (const canvas of canvases)
      strips.push(
        modality === "video" ? film(canvas) : spectrogram(canvas, range),
      );
  }
  const width = Math.max(...strips.map((strip) => strip.width));
  const height = strips.reduce((sum, strip) => sum + strip.height + gap, -gap);
  const data = new Uint8Array(width * height * 3).fill(255);
  let top = 0;
  for (const strip of strips) {
    for (let y = 0; y < strip.height; y++)
      data.set(
        strip.data.subarray(y * strip.width * 3, (y + 1) * strip.width * 3),
        (top + y) * width * 3,
      );
    top += strip.height + gap;
  }
  writeFileSync(path, encode({ width, height, data, channels: 3, depth: 8 }));
}

interface Image {
  width: number;
  height: number;
  data: Uint8Array;
}

const videoShape = (batch: ClipBatch, { videoGrid, tubelet }: PatchSizes) => {
  const { crop } = batch.info.video!;
  return [3, videoGrid[0] * tubelet, crop, crop];
};

const audioShape = (batch: ClipBatch) => {
  const { mels, columns } = batch.info.audio!;
  return [mels, columns];
};

function painted(
  kind: "truth" | "seen" | "drawn",
  modality: "video" | "audio",
  values: readonly DrawnValues[],
  tokensOf: (rows: DrawnValues) => { at: number; position: number }[],
  shape: readonly number[],
  sizes: PatchSizes,
): Canvas {
  const size = shape.reduce((a, b) => a * b);
  const canvas = { shape, values: new Float32Array(size).fill(hidden) };
  const paint = modality === "video" ? paintVideo : paintAudio;
  for (const one of values) {
    if (kind === "seen" && one.source === "masked") continue;
    const from = kind === "drawn" ? one.drawn : one.target;
    const width = one.target.length / one.rows.packed.length;
    for (const { at, position } of tokensOf(one))
      paint(
        canvas,
        position,
        from.subarray(at * width, (at + 1) * width),
        sizes,
      );
  }
  return canvas;
}

function film({ shape, values }: Canvas): Image {
  const [, frames, height, side] = shape as [number, number, number, number];
  const width = frames * (side + gap) - gap;
  const data = new Uint8Array(width * height * 3).fill(255);
  for (let t = 0; t < frames; t++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < side; x++)
        for (let c = 0; c < 3; c++) {
          const value = values[((c * frames + t) * height + y) * side + x]!;
          const level = value * imagenetStd[c]! + imagenetMean[c]!;
          data[(y * width + t * (side + gap) + x) * 3 + c] = Number.isNaN(value)
            ? 96
            : Math.max(0, Math.min(255, Math.round(255 * level)));
        }
  return { width, height, data };
}

function rangeOf({ values }: Canvas): [least: number, most: number] {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    if (Number.isNaN(value)) continue;
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return [least, most];
}

/** Low frequencies at the bottom, in grey; what was hidden is blue. */
function spectrogram(
  { shape, values }: Canvas,
  [least, most]: [number, number],
): Image {
  const [height, width] = shape as [number, number];
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const value = values[(height - 1 - y) * width + x]!;
      const level = (255 * (value - least)) / (most - least || 1);
      const grey = Math.max(0, Math.min(255, Math.round(level)));
      data.set(
        Number.isNaN(value) ? [48, 64, 112] : [grey, grey, grey],
        (y * width + x) * 3,
      );
    }
  return { width, height, data };
}

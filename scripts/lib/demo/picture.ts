/** Pictures for people: frames, a spectrogram, and what masks hide of them. */

import { writeFileSync } from "node:fs";
import type { ClipBatch } from "@avjepa/data";
import { AUDIO, type PackedIndices, VIDEO } from "@avjepa/models";
import { encode } from "fast-png";

/** RGB, `[height, width, 3]`. */
interface Image {
  width: number;
  height: number;
  data: Uint8Array;
}

const paper = [255, 255, 255] as const;
const gap = 4;
/** Least width of the picture, pixels. */
const leastWidth = 800;
/** How much of its brightness a hidden token keeps. */
const veil = 0.18;

/**
 * Writes one clip of a batch as a PNG: a line of frames over its spectrogram;
 * then the same for every mask, where only what the context encoder sees is lit.
 */
export function writeClipPicture(
  path: string,
  clips: ClipBatch,
  row: number,
): void {
  const { masks } = clips;
  const views = [
    null,
    ...Array.from({ length: masks?.context.masks ?? 0 }, (_, k) => k),
  ];
  const strips = views.flatMap((mask) => {
    const seen = mask === null ? null : tokensOf(masks!.context, mask, row);
    const film = frames(clips, row, seen);
    return [film, spectrogram(clips, row, seen, film?.width ?? 0)];
  });
  const image = stacked(strips.filter((strip) => strip !== null));
  writeFileSync(path, encode({ ...image, channels: 3, depth: 8 }));
}

/** The tokens of a row under a mask, as `modality · 2³⁰ + position`. */
type Seen = ReadonlySet<number>;
const key = (modality: number, position: number): number =>
  modality * 2 ** 30 + position;

function tokensOf(tokens: PackedIndices, mask: number, row: number): Seen {
  const sequence = mask * tokens.samples + row;
  const seen = new Set<number>();
  for (
    let m = tokens.offsets[sequence]!;
    m < tokens.offsets[sequence + 1]!;
    m++
  )
    seen.add(key(tokens.modality[m]!, tokens.position[m]!));
  return seen;
}

/** All frames, side by side. */
function frames(
  clips: ClipBatch,
  row: number,
  seen: Seen | null,
): Image | null {
  const { video } = clips.info;
  const bytes = clips.videoData;
  if (!video || !(bytes instanceof Uint8Array)) return null;
  const { crop, frames: count } = video;
  const [times, rows, columns] = video.grid;
  const image = blank(count * (crop + gap) - gap, crop);
  for (let t = 0; t < count; t++) {
    const time = Math.floor((t * times) / count);
    const from = (row * count + t) * crop * crop * 3;
    paint(image, t * (crop + gap), crop, crop, (x, y, channel) => {
      const patch =
        (time * rows + Math.floor((y * rows) / crop)) * columns +
        Math.floor((x * columns) / crop);
      const lit = seen === null || seen.has(key(VIDEO, patch));
      return bytes[from + (y * crop + x) * 3 + channel]! * (lit ? 1 : veil);
    });
  }
  return image;
}

/** Low frequencies at the bottom, time to the right over about `width`. */
function spectrogram(
  clips: ClipBatch,
  row: number,
  seen: Seen | null,
  width: number,
): Image | null {
  const { audio } = clips.info;
  const values = clips.audioData;
  if (!audio || !values) return null;
  const { mels, columns, grid } = audio;
  const own = values.subarray(row * mels * columns, (row + 1) * mels * columns);
  const [least, most] = own.reduce(
    ([a, b], v) => [Math.min(a, v), Math.max(b, v)],
    [Infinity, -Infinity],
  );
  const stretch = Math.max(1, Math.floor(width / columns));
  const image = blank(columns * stretch, mels);
  paint(image, 0, image.width, mels, (at, y, channel) => {
    const x = Math.floor(at / stretch);
    const mel = mels - 1 - y;
    const patch =
      Math.floor((mel * grid[0]) / mels) * grid[1] +
      Math.floor((x * grid[1]) / columns);
    const lit = seen === null || seen.has(key(AUDIO, patch));
    const level = (own[mel * columns + x]! - least) / (most - least || 1);
    return heat(level)[channel]! * (lit ? 1 : veil);
  });
  return image;
}

/** Black over purple and orange to pale yellow. */
function heat(level: number): readonly [number, number, number] {
  const stops = [
    [0, 0, 4],
    [87, 16, 110],
    [188, 55, 84],
    [249, 142, 9],
    [252, 255, 164],
  ] as const;
  const at = Math.min(0.9999, Math.max(0, level)) * (stops.length - 1);
  const [a, b] = [stops[Math.floor(at)]!, stops[Math.floor(at) + 1]!];
  const mixed = (i: 0 | 1 | 2) => a[i] + (b[i] - a[i]) * (at % 1);
  return [mixed(0), mixed(1), mixed(2)];
}

function blank(width: number, height: number): Image {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i++) data[i] = paper[i % 3]!;
  return { width, height, data };
}

function paint(
  image: Image,
  left: number,
  width: number,
  height: number,
  value: (x: number, y: number, channel: number) => number,
): void {
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let channel = 0; channel < 3; channel++)
        image.data[(y * image.width + left + x) * 3 + channel] = value(
          x,
          y,
          channel,
        );
}

/** One below the other on white, enlarged. */
function stacked(strips: readonly Image[]): Image {
  const width = Math.max(...strips.map((strip) => strip.width)) + 2 * gap;
  const height = strips.reduce((sum, strip) => sum + strip.height + gap, gap);
  const zoom = Math.ceil(leastWidth / width);
  const page = blank(width * zoom, height * zoom);
  let top = gap;
  for (const strip of strips) {
    for (let y = 0; y < strip.height * zoom; y++)
      for (let x = 0; x < strip.width * zoom; x++) {
        const from =
          (Math.floor(y / zoom) * strip.width + Math.floor(x / zoom)) * 3;
        const to = ((top * zoom + y) * page.width + gap * zoom + x) * 3;
        page.data.set(strip.data.subarray(from, from + 3), to);
      }
    top += strip.height + gap;
  }
  return page;
}

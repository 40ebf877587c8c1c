/**
 * The demo's clips. A faint light falls on a noisy picture from one of four
 * sides; in a noisy sound hums one of four notes. The class is (side + note)
 * mod 4: neither picture nor sound alone says anything of it.
 */

import { RandomStream } from "@avjepa/data";

/** Values of either factor, and of the class. */
export const values = 4;

/** Side of a picture, in pixels; frames of a clip; frames a second. */
export const size = 32;
const frameCount = 8;
export const fps = 6;
/** Samples a second, and of a clip: a little longer than the picture. */
export const sampleRate = 16_000;
const sampleCount = Math.ceil((frameCount / fps) * sampleRate) + 1600;

/** Of 255: how much brighter the light's side is than the middle, and the noise's deviation. */
const lightness = 30;
const pictureNoise = 30;
/** Of the picture's noise, in pixels. */
const blur = 0.8;
/** Deviation of the sound's noise; the note's amplitude is 0.1. */
const soundNoise = 0.06;

/** What a clip shows and sounds. */
export interface Scene {
  /** Where the light comes from. */
  side: number;
  note: number;
}

/** What can be asked of a clip; each answer is one of {@link values}. */
export const questions = {
  class: ({ side, note }: Scene) => (side + note) % values,
  side: ({ side }: Scene) => side,
  note: ({ note }: Scene) => note,
};

/** Draws of a clip, by its number. */
export function drawsOf(seed: number, clip: number): RandomStream {
  return new RandomStream("sample", [seed, 0, clip, 100]);
}

/** RGB `[T, H, W, 3]`. */
export function renderFrames({ side }: Scene, draws: RandomStream): Uint8Array {
  const uniform = uniformOf(draws);
  const angle = (2 * Math.PI * side) / values + uniform(-0.3, 0.3);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const place = (i: number): number => (2 * i) / (size - 1) - 1;
  const frames = new Uint8Array(frameCount * size * size * 3);
  let at = 0;
  for (let t = 0; t < frameCount; t++) {
    const strength = lightness * Math.exp(uniform(-0.4, 0.4));
    const noise = smoothNoise(draws);
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        const light = strength * (place(x) * cos + place(y) * sin);
        const grey = 128 + light + pictureNoise * noise[y * size + x]!;
        frames.fill(Math.max(0, Math.min(255, grey)), at, at + 3);
        at += 3;
      }
  }
  return frames;
}

/** White noise after a Gaussian blur, of deviation 1; the picture's edges meet. */
function smoothNoise(draws: RandomStream): Float64Array {
  let field: Float64Array = draws.draw("normal", [0, 1], size * size);
  for (const [along, across] of [
    [1, size],
    [size, 1],
  ] as const) {
    const blurred = new Float64Array(field.length);
    for (let line = 0; line < size; line++)
      for (let i = 0; i < size; i++) {
        let sum = 0;
        for (let k = 0; k < kernel.length; k++) {
          const from = (i + k - reach + size) % size;
          sum += kernel[k]! * field[line * across + from * along]!;
        }
        blurred[line * across + i * along] = sum;
      }
    field = blurred;
  }
  let squares = 0;
  for (let i = 0; i < field.length; i++) squares += field[i]! * field[i]!;
  const deviation = Math.sqrt(squares / field.length);
  for (let i = 0; i < field.length; i++) field[i]! /= deviation;
  return field;
}

const reach = 3;
const kernel = Float64Array.from({ length: 2 * reach + 1 }, (_, k) =>
  Math.exp(-((k - reach) ** 2) / (2 * blur * blur)),
);

/** Sound of full scale ±1. */
export function renderSound(
  { note }: Scene,
  draws: RandomStream,
): Float32Array {
  const pitch = 500 * 2 ** (0.8 * note + uniformOf(draws)(-0.2, 0.2));
  const sound = Float32Array.from(draws.draw("normal", [0, 1], sampleCount));
  const turn = (2 * Math.PI * pitch) / sampleRate;
  for (let i = 0; i < sound.length; i++)
    sound[i] = 0.1 * Math.sin(turn * i) + soundNoise * sound[i]!;
  return sound;
}

const uniformOf =
  (draws: RandomStream) =>
  (low: number, high: number): number =>
    draws.draw("uniform", [low, high])[0]!;

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
export const frameCount = 8;
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

/** White noise after a Gaussian blur, of deviation 1. */
function smoothNoise(draws: RandomStream): Float64Array {
  const kernel = [-3, -2, -1, 0, 1, 2, 3].map((d) =>
    Math.exp(-(d * d) / (2 * blur * blur)),
  );
  let field: Float64Array = draws.draw("normal", [0, 1], size * size);
  for (const stride of [1, size]) {
    const blurred = new Float64Array(field.length);
    for (let i = 0; i < field.length; i++) {
      const place = Math.floor(i / stride) % size;
      for (const [k, weight] of kernel.entries()) {
        const wrapped = (place + k - 3 + size) % size;
        blurred[i]! += weight * field[i + (wrapped - place) * stride]!;
      }
    }
    field = blurred;
  }
  const squares = field.reduce((sum, x) => sum + x * x, 0);
  const deviation = Math.sqrt(squares / field.length);
  return field.map((x) => x / deviation);
}

/** Sound of full scale ±1. */
export function renderSound(
  { note }: Scene,
  draws: RandomStream,
): Float32Array {
  const pitch = 500 * 2 ** (0.8 * note + uniformOf(draws)(-0.2, 0.2));
  const noise = draws.draw("normal", [0, 1], sampleCount);
  return Float32Array.from(
    noise,
    (hiss, i) =>
      0.1 * Math.sin((2 * Math.PI * pitch * i) / sampleRate) +
      soundNoise * hiss,
  );
}

const uniformOf =
  (draws: RandomStream) =>
  (low: number, high: number): number =>
    draws.draw("uniform", [low, high])[0]!;

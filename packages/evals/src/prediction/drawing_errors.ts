/** How far drawn patches are from the true ones, masked and visible ones apart. */

import type { FeatureSource } from "./pixel_decoder.ts";

/** Errors of one modality and source. */
export interface DrawingError {
  /** Mean squared error: of pixels in 0 … 1, of spectrograms as the model has them. */
  mse: number;
  /** 10·log10(peak² / mse), in decibels. The peak is 1 for pixels, the values' range for spectrograms. */
  psnr: number;
  /** Of drawing the mean of the true values everywhere: what nothing was learned from. */
  mse_of_mean: number;
  tokens: number;
}

interface Sums {
  square: number;
  /** Of the true values. */
  sum: number;
  squares: number;
  least: number;
  most: number;
  values: number;
  tokens: number;
}

/** Sums over any number of batches. */
export class DrawingErrors {
  readonly #sums = new Map<string, Sums>();

  /** Adds tokens, `[n, width]` each; `scale` brings column c to the unit of the error. */
  add(
    modality: "video" | "audio",
    source: FeatureSource,
    drawn: ArrayLike<number>,
    target: ArrayLike<number>,
    width: number,
    scale: (column: number) => number,
  ): void {
    const key = `${modality}.${source}`;
    const sums = this.#sums.get(key) ?? {
      square: 0,
      sum: 0,
      squares: 0,
      least: Infinity,
      most: -Infinity,
      values: 0,
      tokens: 0,
    };
    this.#sums.set(key, sums);
    for (let i = 0; i < target.length; i++) {
      const by = scale(i % width);
      const value = target[i]! * by;
      sums.square += (drawn[i]! * by - value) ** 2;
      sums.sum += value;
      sums.squares += value * value;
      sums.least = Math.min(sums.least, value);
      sums.most = Math.max(sums.most, value);
    }
    sums.values += target.length;
    sums.tokens += target.length / width;
  }

  /** Of a modality and source; undefined where there were no tokens. */
  of(
    modality: "video" | "audio",
    source: FeatureSource,
  ): DrawingError | undefined {
    const sums = this.#sums.get(`${modality}.${source}`);
    if (!sums || sums.values === 0) return undefined;
    const mse = sums.square / sums.values;
    const mean = sums.sum / sums.values;
    const peak = modality === "video" ? 1 : sums.most - sums.least;
    return {
      mse,
      psnr: 10 * Math.log10((peak * peak) / Math.max(mse, 1e-20)),
      mse_of_mean: Math.max(0, sums.squares / sums.values - mean * mean),
      tokens: sums.tokens,
    };
  }
}

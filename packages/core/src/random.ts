/**
 * Counter-based random tensors (Philox4x32-10): equal seeds and counters give
 * equal values on every device, whatever was drawn before.
 */

import { type DType, dtypeNumber } from "./dtype.ts";
import { defaultDevice, deviceNumber } from "./device.ts";
import { AvjepaError } from "./error.ts";
import { type Tensor, checkShape, operation } from "./tensor.ts";

/** A stream of random tensors; each draw takes the next counters. */
export class Generator {
  readonly #seed: bigint;
  #counter: bigint;

  /** @param seed any integer, taken modulo 2^64. */
  constructor(seed: number | bigint, counter: bigint = 0n) {
    if (typeof seed === "number" && !Number.isInteger(seed)) {
      throw new AvjepaError("AVJ_ARGUMENT", `Generator: the seed is ${seed}`, {
        hint: "give a whole number",
      });
    }
    this.#seed = BigInt.asUintN(64, BigInt(seed));
    this.#counter = counter;
  }

  /** Where the stream stands; give it to the constructor to go on from here. */
  get counter(): bigint {
    return this.#counter;
  }

  /** Uniform in `[low, high)`. */
  uniform(
    shape: readonly number[],
    low = 0,
    high = 1,
    options: RandomOptions = {},
  ): Tensor {
    return this.#draw(shape, 0, [low, high, 0, 0], options);
  }

  normal(
    shape: readonly number[],
    mean = 0,
    std = 1,
    options: RandomOptions = {},
  ): Tensor {
    return this.#draw(shape, 1, [mean, std, 0, 0], options);
  }

  /** Normal, cut off at `low` and `high`; no infinities and no mass at the cuts. */
  truncatedNormal(
    shape: readonly number[],
    std: number,
    low = -2,
    high = 2,
    options: RandomOptions = {},
  ): Tensor {
    return this.#draw(shape, 2, [0, std, low, high], options);
  }

  #draw(
    shape: readonly number[],
    kind: number,
    p: readonly number[],
    options: RandomOptions,
  ): Tensor {
    const device = options.device ?? defaultDevice();
    const dtype = dtypeNumber(options.dtype ?? "float32");
    checkShape("random", shape);
    const halves = (x: bigint) => [Number(x & 0xffffffffn), Number(x >> 32n)];
    const drawn = operation("random", device, [
      deviceNumber(device),
      shape,
      dtype,
      kind,
      ...p,
      ...halves(this.#seed),
      ...halves(this.#counter),
    ]);
    this.#counter += BigInt(Math.ceil(drawn.size / 4));
    return drawn;
  }
}

export interface RandomOptions {
  device?: string;
  dtype?: DType;
}

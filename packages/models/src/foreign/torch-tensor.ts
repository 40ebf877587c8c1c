/** A tensor of a file of torch.save: a view of a storage that lies in the file as it is. */

import { AvjepaError, type DType, type HostArray } from "@avjepa/core";
import { elementTypes } from "./element-types.ts";
import { readBytes } from "./read-bytes.ts";
import type { ForeignTensor } from "./types.ts";

/** Where the elements are, as the addon tells it. */
export interface TensorPlace {
  dtype: string;
  shape: number[];
  /** Elements from one to the next, by axis. */
  strides: number[];
  /** Elements before the first. */
  offset: number;
  /** First byte of the storage in the file. */
  start: number;
}

export class TorchTensor implements ForeignTensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly fileDtype: string;
  readonly #path: string;
  readonly #place: TensorPlace;

  constructor(path: string, place: TensorPlace) {
    this.shape = place.shape;
    this.dtype = elementTypes[place.dtype]?.dtype ?? "float32";
    this.fileDtype = place.dtype;
    this.#path = path;
    this.#place = place;
  }

  async read(): Promise<HostArray> {
    const { shape, strides, offset, start } = this.#place;
    const type = elementTypes[this.fileDtype];
    if (type === undefined)
      throw new AvjepaError(
        "AVJ_FOREIGN",
        `${this.#path}: a tensor of type ${this.fileDtype} is of no use here`,
        { hint: "known are real numbers, integers and booleans" },
      );
    const count = shape.reduce((product, size) => product * size, 1);
    if (count === 0) return type.decode(new ArrayBuffer(0));
    const reach = shape.reduce(
      (sum, size, axis) => sum + (size - 1) * (strides[axis] as number),
      1,
    );
    const from = start + offset * type.size;
    const bytes = await readBytes(this.#path, from, reach * type.size);
    if (isContiguous(shape, strides)) return type.decode(bytes.buffer);
    return type.decode(gather(bytes, type.size, shape, strides));
  }
}

function isContiguous(
  shape: readonly number[],
  strides: readonly number[],
): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] as number;
    if (size !== 1 && strides[axis] !== expected) return false;
    expected *= size;
  }
  return true;
}

/** Elements of `size` bytes, in C order. */
function gather(
  bytes: Uint8Array<ArrayBuffer>,
  size: number,
  shape: readonly number[],
  strides: readonly number[],
): ArrayBuffer {
  const Words = wordsOf(size);
  const source = new Words(bytes.buffer);
  const count = shape.reduce((product, n) => product * n, 1);
  const out = new Words(count);
  // The last axis in the innermost loop, the others counted up by hand.
  const place = shape.map(() => 0);
  const last = shape.length - 1;
  const [width, step] = [shape[last] as number, strides[last] as number];
  let row = 0;
  for (let at = 0; at < count; at += width) {
    for (let i = 0; i < width; i++)
      out[at + i] = source[row + i * step] as never;
    for (let axis = last - 1; axis >= 0; axis--) {
      row += strides[axis] as number;
      if (++place[axis]! < (shape[axis] as number)) break;
      row -= (shape[axis] as number) * (strides[axis] as number);
      place[axis] = 0;
    }
  }
  return out.buffer as ArrayBuffer;
}

function wordsOf(size: number) {
  if (size === 8) return BigUint64Array;
  if (size === 4) return Uint32Array;
  return size === 2 ? Uint16Array : Uint8Array;
}

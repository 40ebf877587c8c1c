/** Element types, and the typed arrays that hold them on the host. */

import { native } from "./addon.ts";
import { AvjepaError } from "./error.ts";

/** `bfloat16` is stored in 16 bits and computed in f32. */
export type DType =
  "float32" | "bfloat16" | "float64" | "int32" | "int64" | "uint8";

/** Host arrays. bfloat16 travels as its bits in a `Uint16Array`. */
export type HostArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array;

const names = native.dtypes();

/** The number by which the addon knows the type. */
export function dtypeNumber(dtype: DType): number {
  const number = names.indexOf(dtype);
  if (number < 0) {
    throw new AvjepaError("AVJ_DTYPE", `there is no element type "${dtype}"`, {
      hint: `the types are ${names.join(", ")}`,
    });
  }
  return number;
}

/** The type behind an addon's number. */
export function dtypeName(number: number): DType {
  return names[number] as DType;
}

/** Bytes of one element. */
export function dtypeBytes(dtype: DType): number {
  return { float32: 4, bfloat16: 2, float64: 8, int32: 4, int64: 8, uint8: 1 }[
    dtype
  ];
}

/** The type of a host array; a `Uint16Array` holds bfloat16 bits. */
export function dtypeOf(array: HostArray): DType {
  if (array instanceof Float32Array) return "float32";
  if (array instanceof Float64Array) return "float64";
  if (array instanceof Int32Array) return "int32";
  if (array instanceof BigInt64Array) return "int64";
  if (array instanceof Uint8Array) return "uint8";
  if (array instanceof Uint16Array) return "bfloat16";
  throw new AvjepaError(
    "AVJ_DTYPE",
    `a ${Object.prototype.toString.call(array)} is no tensor data`,
    {
      hint: "use Float32Array, Float64Array, Int32Array, BigInt64Array, Uint8Array, or Uint16Array for bfloat16 bits",
    },
  );
}

/** Bytes, viewed as the type's host array. */
export function hostArray(dtype: DType, bytes: Uint8Array): HostArray {
  const { buffer, byteOffset, byteLength } = bytes;
  const length = byteLength / dtypeBytes(dtype);
  switch (dtype) {
    case "float32":
      return new Float32Array(buffer, byteOffset, length);
    case "bfloat16":
      return new Uint16Array(buffer, byteOffset, length);
    case "float64":
      return new Float64Array(buffer, byteOffset, length);
    case "int32":
      return new Int32Array(buffer, byteOffset, length);
    case "int64":
      return new BigInt64Array(buffer, byteOffset, length);
    case "uint8":
      return new Uint8Array(buffer, byteOffset, length);
    default:
      return dtype satisfies never;
  }
}

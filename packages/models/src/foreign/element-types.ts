/** Element types of torch, and ours that hold their values. */

import type { DType, HostArray } from "@avjepa/core";

/** How elements are read. */
export interface ElementType {
  /** Bytes in the file. */
  size: number;
  dtype: DType;
  /** Elements, little-endian and aligned, as a host array. */
  decode(buffer: ArrayBuffer): HostArray;
}

/** By torch's names. Complex numbers are not among them. */
export const elementTypes: Readonly<Record<string, ElementType>> = {
  float64: {
    size: 8,
    dtype: "float64",
    decode: (buffer) => new Float64Array(buffer),
  },
  float32: {
    size: 4,
    dtype: "float32",
    decode: (buffer) => new Float32Array(buffer),
  },
  float16: { size: 2, dtype: "float32", decode: halves },
  bfloat16: {
    size: 2,
    dtype: "float32",
    decode: (buffer) => {
      const bits = Uint32Array.from(new Uint16Array(buffer), (b) => b << 16);
      return new Float32Array(bits.buffer);
    },
  },
  float8_e4m3fn: {
    size: 1,
    dtype: "float32",
    decode: (buffer) => eighths(buffer, 4, 7, false),
  },
  float8_e5m2: {
    size: 1,
    dtype: "float32",
    decode: (buffer) => eighths(buffer, 5, 15, true),
  },
  int64: {
    size: 8,
    dtype: "int64",
    decode: (buffer) => new BigInt64Array(buffer),
  },
  int32: {
    size: 4,
    dtype: "int32",
    decode: (buffer) => new Int32Array(buffer),
  },
  int16: {
    size: 2,
    dtype: "int32",
    decode: (buffer) => Int32Array.from(new Int16Array(buffer)),
  },
  int8: {
    size: 1,
    dtype: "int32",
    decode: (buffer) => Int32Array.from(new Int8Array(buffer)),
  },
  uint32: {
    size: 4,
    dtype: "int64",
    decode: (buffer) => BigInt64Array.from(new Uint32Array(buffer), BigInt),
  },
  uint16: {
    size: 2,
    dtype: "int32",
    decode: (buffer) => Int32Array.from(new Uint16Array(buffer)),
  },
  uint8: {
    size: 1,
    dtype: "uint8",
    decode: (buffer) => new Uint8Array(buffer),
  },
  bool: {
    size: 1,
    dtype: "uint8",
    decode: (buffer) => new Uint8Array(buffer).map((byte) => Number(byte > 0)),
  },
};

/** Values of all 65,536 halves, made when first needed. */
let halfValues: Float32Array | undefined;

function halves(buffer: ArrayBuffer): Float32Array {
  halfValues ??= Float32Array.from({ length: 1 << 16 }, (_, bits) =>
    small(bits, 5, 10, 15, true),
  );
  const table = halfValues;
  return Float32Array.from(new Uint16Array(buffer), (bits) => table[bits]!);
}

function eighths(
  buffer: ArrayBuffer,
  exponentBits: number,
  bias: number,
  infinities: boolean,
): Float32Array {
  const table = Float32Array.from({ length: 256 }, (_, bits) =>
    small(bits, exponentBits, 7 - exponentBits, bias, infinities),
  );
  return Float32Array.from(new Uint8Array(buffer), (bits) => table[bits]!);
}

/** The value of a small float: sign, exponent, mantissa. Without infinities, only all ones is not a number. */
function small(
  bits: number,
  exponentBits: number,
  mantissaBits: number,
  bias: number,
  infinities: boolean,
): number {
  const sign = bits >> (exponentBits + mantissaBits) === 1 ? -1 : 1;
  const top = (1 << exponentBits) - 1;
  const exponent = (bits >> mantissaBits) & top;
  const mantissa = bits & ((1 << mantissaBits) - 1);
  const fraction = mantissa / (1 << mantissaBits);
  if (exponent === top) {
    if (infinities) return mantissa === 0 ? sign * Infinity : Number.NaN;
    if (mantissa === (1 << mantissaBits) - 1) return Number.NaN;
  }
  if (exponent === 0) return sign * fraction * 2 ** (1 - bias);
  return sign * (1 + fraction) * 2 ** (exponent - bias);
}

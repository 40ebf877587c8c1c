/** bfloat16 on the host. */

const bits = new Uint32Array(1);
const number = new Float32Array(bits.buffer);

/** Adds rows `[length, D]` up over their length; bfloat16 comes as its bits. */
export function sumRows(
  values: Uint16Array | Float32Array,
  dim: number,
): Float64Array {
  const sum = new Float64Array(dim);
  const isBits = values instanceof Uint16Array;
  for (let at = 0; at < values.length; at += dim)
    for (let d = 0; d < dim; d++) {
      if (isBits) bits[0] = values[at + d]! << 16;
      else number[0] = values[at + d]!;
      sum[d]! += number[0]!;
    }
  return sum;
}

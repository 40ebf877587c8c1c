/**
 * Sine-cosine position tables (Vaswani et al., arXiv 1706.03762; He et al.,
 * arXiv 2111.06377), computed in float64.
 *
 * One axis, width d, at position p: `[sin(p·ω_0) … sin(p·ω_{d/2−1}), cos(p·ω_0) … ]`
 * with `ω_k = 10000^(−k/(d/2))`. Several axes are such rows side by side.
 */

import { refuse } from "./check.ts";

/** Tokens along each axis: `[time, rows, columns]`, or `[rows, columns]`. */
export type Grid = readonly number[];

/** Number of tokens of a grid. */
export function gridSize(grid: Grid): number {
  return grid.reduce((product, size) => product * size, 1);
}

/**
 * What the width of a grid's table must be a multiple of, so that each axis has
 * as many sines as cosines: three equal shares are rounded up and cut off, and
 * fit any width.
 */
export function widthMultiple(grid: Grid, uniformPower: boolean): number {
  if (grid.length === 2) return 4;
  return uniformPower ? 1 : 8;
}

/** Rows of one axis. @param dim even @returns `[positions.length, dim]`, row-major */
export function sincos1d(
  dim: number,
  positions: ArrayLike<number>,
): Float64Array {
  if (dim % 2 !== 0)
    refuse(
      "position table",
      `an axis has ${dim} columns, but needs as many sines as cosines`,
    );
  const half = dim / 2;
  const table = new Float64Array(positions.length * dim);
  for (let k = 0; k < half; k++) {
    const omega = 1 / 10000 ** (k / half);
    for (let i = 0; i < positions.length; i++) {
      const angle = (positions[i] as number) * omega;
      table[i * dim + k] = Math.sin(angle);
      table[i * dim + half + k] = Math.cos(angle);
    }
  }
  return table;
}

/**
 * The table of a grid, tokens in row-major order.
 *
 * @param options.uniformPower shares the columns of three axes equally, each
 *   rounded up to an even number and the last cut off; otherwise time takes a
 *   half, and row and column a quarter each. Two axes always take halves.
 * @returns `[tokens, dim]`, rounded to float32 as every table is kept.
 */
export function positionTable(
  dim: number,
  grid: Grid,
  options: { uniformPower?: boolean } = {},
): Float32Array {
  const third = Math.ceil(dim / 6) * 2;
  const widths =
    grid.length === 2
      ? [dim / 2, dim / 2]
      : options.uniformPower
        ? [third, third, third]
        : [dim / 2, dim / 4, dim / 4];
  const axes = grid.map((size, axis) =>
    sincos1d(
      widths[axis] as number,
      Array.from({ length: size }, (_, p) => p),
    ),
  );
  const tokens = gridSize(grid);
  const table = new Float32Array(tokens * dim);
  for (let token = 0; token < tokens; token++) {
    let column = 0;
    let stride = tokens;
    for (const [axis, rows] of axes.entries()) {
      stride /= grid[axis] as number;
      const at = Math.floor(token / stride) % (grid[axis] as number);
      const width = Math.min(widths[axis] as number, dim - column);
      const start = at * (widths[axis] as number);
      table.set(rows.subarray(start, start + width), token * dim + column);
      column += width;
    }
  }
  return table;
}

/**
 * Rotary positions of video, as V-JEPA 2 has them (Assran et al., arXiv
 * 2506.09985), in place of a position table.
 *
 * Of a head's d columns, time, row and column of the grid each turn
 * `a = 2·⌊⌊d/3⌋/2⌋`; the rest stay. Column c of an axis turns by the token's
 * place on it times `10000^(−k/(a/2))`, k = c mod a/2. (Neighbouring columns
 * are a pair, so the two of a pair have different angles: an oversight that its
 * weights were trained with.)
 */

import { type DType, type Tensor, tensor } from "@avjepa/core";
import type { Grid } from "./positions.ts";
import { gridSize } from "./positions.ts";

/** Cosines and sines by token, `[M, head_dim]` each. */
export interface Rotation {
  cos: Tensor;
  sin: Tensor;
}

/** Angles of every token of a grid, `[N, headDim]`, row-major. */
export function rotaryAngles(headDim: number, grid: Grid): Float64Array {
  const axis = 2 * Math.floor(Math.floor(headDim / 3) / 2);
  const half = axis / 2;
  const omega = Float64Array.from(
    { length: half },
    (_, k) => 10000 ** (-k / half),
  );
  const tokens = gridSize(grid);
  const angles = new Float64Array(tokens * headDim);
  for (let token = 0; token < tokens; token++) {
    let stride = tokens;
    for (const [i, size] of grid.entries()) {
      stride /= size;
      const place = Math.floor(token / stride) % size;
      const start = token * headDim + i * axis;
      for (let c = 0; c < axis; c++)
        angles[start + c] = place * (omega[c % half] as number);
    }
  }
  return angles;
}

/**
 * The rotation of packed tokens.
 *
 * @param positions `[M]` int32, places in the grid.
 * @param dtype of the activations: tables are float64 for float64, else float32.
 */
export function rotationOf(
  headDim: number,
  grid: Grid,
  positions: Tensor,
  dtype: DType,
): Rotation {
  const angles = rotaryAngles(headDim, grid);
  const table = (turn: (angle: number) => number) => {
    const values =
      dtype === "float64" ? angles.map(turn) : Float32Array.from(angles, turn);
    return tensor(values, [angles.length / headDim, headDim], {
      device: positions.device,
    }).indexSelect(positions);
  };
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

/** Position tables, and their interpolation. */

import { type DType, tensor } from "@avjepa/core";
import { positionTable, resizePositions } from "@avjepa/models";
import type { ParityCase } from "../case.ts";

export async function runPosembed(
  given: ParityCase,
  dtype: DType,
): Promise<void> {
  const { hyper } = given;
  if (hyper.form !== "interp") {
    given.compare(
      "pos_embed",
      positionTable(hyper.dim, hyper.grid, {
        uniformPower: hyper.uniform_power,
      }),
    );
    return;
  }
  const side = Math.floor(hyper.img_size / hyper.patch_size);
  const patches = (length: number) => Math.floor(length / hyper.patch_size);
  const [from, to] =
    hyper.num_frames > 1
      ? [
          [Math.floor(hyper.num_frames / hyper.tubelet_size), side, side],
          [
            Math.floor(hyper.input_size[0] / hyper.tubelet_size),
            ...hyper.input_size.slice(1).map(patches),
          ],
        ]
      : [[side, side], hyper.input_size.map(patches)];
  const table = positionTable(hyper.dim, from, {
    uniformPower: hyper.uniform_power,
  });
  const resized = resizePositions(
    tensor(table, [table.length / hyper.dim, hyper.dim], { dtype }),
    from,
    to,
  );
  await given.compareTensor("pos_embed", resized);
}

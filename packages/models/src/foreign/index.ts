/** Weights that people have: checkpoints of other programs. */

export {
  describeForeignEncoder,
  describeForeignProbe,
  type ForeignEncoder,
  type ForeignHints,
} from "./describe.ts";
export { loadForeignWeights, type LoadForeignOptions } from "./load.ts";
export { isForeignCheckpoint, readForeignCheckpoint } from "./read.ts";
export { openTorchFile } from "./torch-file.ts";
export type {
  ForeignCheckpoint,
  ForeignLayout,
  ForeignMeta,
  ForeignTensor,
  ForeignValue,
  ForeignWeights,
} from "./types.ts";

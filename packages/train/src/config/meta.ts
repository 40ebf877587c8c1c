/** `meta`: the run itself. */

import {
  bool,
  choice,
  int,
  list,
  num,
  optional,
  orNull,
  section,
  text,
} from "./key.ts";

export const metaSchema = section({
  compat: optional(
    choice(["corrected", "reference"]),
    "corrected",
    "`reference` sets every key of docs/differences.md that is not given to the published code's value.",
  ),
  seed: optional(
    int({ min: 0 }),
    0,
    "Seed of weights, order, crops and masks.",
  ),
  dtype: optional(
    choice(["float32", "bfloat16", "float16"]),
    "float32",
    "Type of the matrix products and saved activations; weights, moments, sums and losses are float32 always.",
  ),
  load_checkpoint: optional(
    bool(),
    false,
    "The run must continue from meta.read_checkpoint; without it, --resume decides.",
  ),
  read_checkpoint: optional(
    orNull(text()),
    null,
    "Checkpoint in the run folder that meta.load_checkpoint starts from; null: the latest.",
  ),
  init_from: optional(
    orNull(text()),
    null,
    "Checkpoint whose weights a new run starts from: ours, or a .pth.tar of V-JEPA, AVJEPA or V-JEPA 2; a run that exists in the folder is continued instead.",
  ),
  allow_missing: optional(
    list(text()),
    [],
    "Patterns (`*`: anything) of weights that a published checkpoint of meta.init_from may lack; they keep their initial values.",
  ),
  checkpoint_every_steps: optional(
    orNull(int({ min: 1 })),
    null,
    "Steps from one checkpoint to the next.",
    "once an epoch",
  ),
  checkpoint_every_minutes: optional(
    orNull(num({ above: 0 })),
    15,
    "Minutes after which a checkpoint is due as well; null: never.",
  ),
  keep_checkpoints: optional(
    int({ min: 1 }),
    2,
    "Newest checkpoints that are kept.",
  ),
  save_every_freq: optional(
    int({ min: -1 }),
    -1,
    "Keep the checkpoint of every so many epochs for good; −1 or 0: none.",
  ),
  skip_batches: optional(
    int({ min: -1 }),
    -1,
    "Batches to pass over at the start of a new run; −1: none.",
  ),
});

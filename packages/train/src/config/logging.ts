/** `logging`: where a run writes and how often. */

import { bool, int, optional, orNull, required, section, text } from "./key.ts";

export const loggingSchema = section({
  folder: required(text(), "The run folder; made when it is missing."),
  write_tag: required(
    text()
      .regex(/^[\w.+-]+$/)
      .meta({ expected: "a file name's letters, digits, . _ + -" }),
    "Prefix of the run's checkpoints and tables.",
  ),
  every_steps: optional(
    int({ min: 1 }),
    10,
    "Steps from one line of log.txt (and of a terminal that is none) to the next; metrics.jsonl has every step.",
  ),
  collapse_every_steps: optional(
    int({ min: 1 }),
    100,
    "Steps from one measurement of feature deviation and effective rank to the next.",
  ),
  held_out_every_steps: optional(
    orNull(int({ min: 1 })),
    null,
    "Steps from one evaluation of the held-out loss to the next.",
    "once an epoch",
  ),
  online_probe_train: optional(
    orNull(text()),
    null,
    "Index of labelled files; with online_probe_val, a linear probe and k-NN on the target encoder's features are tried now and then.",
  ),
  online_probe_val: optional(
    orNull(text()),
    null,
    "Index of labelled files that the online probe is tested with.",
  ),
  online_probe_every_steps: optional(
    int({ min: 1 }),
    1000,
    "Steps from one online probe to the next.",
  ),
  tensorboard: optional(bool(), true, "Write a TensorBoard event file."),
});

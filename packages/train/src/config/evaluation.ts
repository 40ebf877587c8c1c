/** The schema of `configs/evals/*.yaml`: a probe on frozen features. */

import { z } from "zod";

import {
  bool,
  choice,
  int,
  maybe,
  num,
  optional,
  orNull,
  required,
  section,
  text,
} from "./key.ts";
import { modelNames } from "./model.ts";

const video = "Required for video_classification_frozen.";
const image = "Required for image_classification_frozen.";

const data = section({
  dataset_type: optional(
    choice(["videodataset", "audiovideodataset"]),
    "videodataset",
    "Kind of the data, in any case of letters.",
  ),
  dataset_train: maybe(text(), `Index file to train the probe on. ${video}`),
  dataset_val: maybe(text(), `Index file to test it on. ${video}`),
  dataset_name: maybe(
    choice(["ImageNet", "iNat21", "Places205"]),
    `Name of the image set. ${image}`,
  ),
  root_path: maybe(text(), `Folder of the image sets. ${image}`),
  image_folder: maybe(
    text(),
    `Folder of the set below it, with train/ and val/. ${image}`,
  ),
  num_classes: required(int({ min: 1 }), "Classes."),
  frames_per_clip: optional(int({ min: 1 }), 16, "Frames of a clip."),
  num_segments: optional(int({ min: 1 }), 1, "Clips cut from a video."),
  num_views_per_segment: optional(
    int({ min: 1 }),
    1,
    "Crops of a clip in testing.",
  ),
  frame_step: optional(
    orNull(int({ min: 1 })),
    null,
    "Frames of the file from one frame of the clip to the next.",
    "pretrain.frame_step, else 4",
  ),
  resolution: optional(
    int({ min: 1 }),
    224,
    "Side of the picture, in pixels (images).",
  ),
});

const optimization = section({
  resolution: optional(
    int({ min: 1 }),
    224,
    "Side of the picture, in pixels (video).",
  ),
  attend_across_segments: optional(
    bool(),
    false,
    "The probe attends to the tokens of all clips of a video at once.",
  ),
  num_epochs: required(int({ min: 1 }), "Epochs of the probe."),
  batch_size: required(int({ min: 1 }), "Videos or images a process takes."),
  weight_decay: required(
    num({ min: 0 }),
    "Weight decay at the start; it falls to 1e-6.",
  ),
  lr: required(num({ min: 0 }), "Learning rate after the warm-up."),
  start_lr: required(num({ min: 0 }), "Learning rate at the start."),
  final_lr: required(num({ min: 0 }), "Learning rate at the end."),
  warmup: required(num({ min: 0 }), "Epochs of linear warm-up."),
  use_bfloat16: optional(
    bool(),
    false,
    "Matrix products in bfloat16 (the reference means float16 by it).",
  ),
});

const pretrain = section({
  model_name: required(choice(modelNames), "Named size of the encoder."),
  checkpoint_key: optional(
    choice(["target_encoder", "encoder"]),
    "target_encoder",
    "Which of the checkpoint's encoders.",
  ),
  folder: required(text(), "Folder of the pretraining run."),
  checkpoint: required(text(), "Checkpoint in it."),
  write_tag: optional(
    orNull(text()),
    null,
    "Prefix of what the evaluation writes.",
  ),
  frames_per_clip: optional(
    int({ min: 1 }),
    1,
    "Frames the encoder was trained on; 1: an image model.",
  ),
  tubelet_size: optional(int({ min: 1 }), 2, "Frames of a token."),
  patch_size: optional(int({ min: 1 }), 16, "Side of a patch, in pixels."),
  uniform_power: optional(
    bool(),
    false,
    "Shape of the position table where the checkpoint has none. (Pretraining's default is true.)",
  ),
  clip_duration: optional(
    orNull(num({ above: 0 })),
    null,
    "Seconds of a clip; given, the frame step follows from it.",
  ),
  frame_step: optional(
    orNull(int({ min: 1 })),
    null,
    "Where the reference reads data.frame_step from.",
    "data.frame_step, else 4",
  ),
});

export const evalSchema = z.strictObject({
  eval_name: required(
    choice(["video_classification_frozen", "image_classification_frozen"]),
    "What is evaluated.",
  ),
  tag: optional(orNull(text()), null, "Sub-folder of the result."),
  nodes: optional(
    orNull(int({ min: 1 })),
    null,
    "Machines of a SLURM job; read by `bun run slurm` only.",
  ),
  tasks_per_node: optional(
    orNull(int({ min: 1 })),
    null,
    "Processes a machine of a SLURM job; read by `bun run slurm` only.",
  ),
  resume_checkpoint: optional(
    bool(),
    false,
    "Continue the probe that the folder has.",
  ),
  data,
  optimization,
  pretrain,
});

/** An evaluation's configuration as the schema leaves it. */
export type EvalConfig = z.output<typeof evalSchema>;

/** An evaluation's configuration whose frame step is known. */
export type ResolvedEvalConfig = Omit<EvalConfig, "data"> & {
  data: Omit<EvalConfig["data"], "frame_step"> & { frame_step: number };
};

/** Keys the reference reads and never uses: accepted, with one warning. */
export const evalIgnored: Record<string, string> = {
  "pretrain.use_sdpa": "attention is always the fused kernel",
  "pretrain.use_silu": "the encoder's MLP is GELU",
  "pretrain.tight_silu": "the encoder's MLP is GELU",
};

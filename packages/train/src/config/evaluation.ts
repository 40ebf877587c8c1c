/** The schema of `configs/evals/*.yaml`: what is asked of frozen features. */

import { z } from "zod";

import { evalDataSchema } from "./eval_data.ts";
import {
  bool,
  choice,
  int,
  list,
  num,
  optional,
  orNull,
  required,
  section,
  text,
} from "./key.ts";
import { modelNames } from "./model.ts";

/** The evaluations there are. */
const evalNames = [
  "video_classification_frozen",
  "image_classification_frozen",
  "audio_classification",
  "audiovisual_classification",
  "retrieval",
] as const;

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
  num_epochs: optional(int({ min: 1 }), 20, "Epochs of the probe."),
  batch_size: optional(
    int({ min: 1 }),
    16,
    "Videos, images or sounds of an optimizer step.",
  ),
  weight_decay: optional(
    num({ min: 0 }),
    0.01,
    "Weight decay at the start; it falls to 1e-6.",
  ),
  lr: optional(num({ min: 0 }), 1e-3, "Learning rate after the warm-up."),
  start_lr: optional(num({ min: 0 }), 1e-3, "Learning rate at the start."),
  final_lr: optional(num({ min: 0 }), 0, "Learning rate at the end."),
  warmup: optional(num({ min: 0 }), 0, "Epochs of linear warm-up."),
  clip_grad: optional(
    orNull(num({ above: 0 })),
    1,
    "Largest L2 norm of a probe's gradient.",
  ),
  use_bfloat16: optional(
    bool(),
    false,
    "Matrix products in bfloat16 (the reference means float16 by it).",
  ),
});

const pretrain = section({
  folder: required(text(), "Folder of the pretraining run."),
  checkpoint: optional(
    orNull(text()),
    null,
    "Checkpoint in it, or a path: of AV-JEPA, or a published `.pth.tar`.",
    "the newest",
  ),
  checkpoint_key: optional(
    choice(["target_encoder", "encoder"]),
    "target_encoder",
    "Which of the checkpoint's encoders.",
  ),
  allow_missing: optional(
    list(text()),
    [],
    "Patterns (`*`: anything) of weights that a published checkpoint may lack.",
  ),
  write_tag: optional(
    orNull(text()),
    null,
    "Prefix of what the evaluation writes.",
    "probe",
  ),
  model_name: optional(
    orNull(choice(modelNames)),
    null,
    "Named size of the encoder.",
    "the checkpoint's",
  ),
  num_heads: optional(
    orNull(int({ min: 1 })),
    null,
    "Attention heads of a published encoder that has no named size.",
    "the checkpoint's, or the named size's",
  ),
  frames_per_clip: optional(
    int({ min: 1 }),
    1,
    "Frames that a published encoder was trained on, and that a picture is held for; 1: an image model.",
  ),
  tubelet_size: optional(
    orNull(int({ min: 1 })),
    null,
    "Frames of a token.",
    "the checkpoint's, else 2",
  ),
  patch_size: optional(
    orNull(int({ min: 1 })),
    null,
    "Side of a patch, in pixels.",
    "the checkpoint's, else 16",
  ),
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

const probe = section({
  checkpoint: optional(
    orNull(text()),
    null,
    "Probe to test, without training: the folder of an evaluation, a checkpoint in it, or a published `.pth.tar`.",
    "probes are trained",
  ),
  lr: optional(
    orNull(list(num({ above: 0 }))),
    null,
    "Learning rates of the grid.",
    "0.3, 1 and 3 times optimization.lr; itself alone with meta.compat: reference",
  ),
  weight_decay: optional(
    orNull(list(num({ min: 0 }))),
    null,
    "Weight decays of the grid.",
    "optimization.weight_decay",
  ),
  depth: optional(
    orNull(list(int({ min: 1 }))),
    null,
    "Blocks of the grid's probes: one of cross-attention, the rest of self-attention.",
    "1 and 4; 1 alone with meta.compat: reference",
  ),
  blocks: optional(
    choice(["after", "before"]),
    "after",
    "Where the blocks of self-attention are: `after`, over the query, as in V-JEPA; `before`, over the tokens, as in V-JEPA 2, which costs more.",
  ),
  projection: optional(
    choice(["applied", "unused", "absent"]),
    "applied",
    "The linear layer after cross-attention: `unused` is V-JEPA's, in the weights and without effect; `absent` V-JEPA 2's.",
  ),
  num_heads: optional(
    orNull(int({ min: 1 })),
    null,
    "Attention heads of the probes.",
    "the encoder's",
  ),
  held_out: optional(
    num({ min: 0, max: 0.9 }),
    0.1,
    "Part of the training samples, of each class alike, that chooses among the grid's probes; none is held out where there is but one.",
  ),
  linear: optional(
    bool(),
    true,
    "Also a linear probe on the mean of the tokens.",
  ),
  knn: optional(
    int({ min: 0 }),
    20,
    "Neighbours that vote in a k-NN classification of the mean of the tokens; 0: none.",
  ),
});

const cache = section({
  folder: optional(
    orNull(text()),
    null,
    "Where encoded tokens are kept. Equal weights, data and settings find them again.",
    "$AVJEPA_CACHE/tokens, else tokens/ in the evaluation's folder",
  ),
  train_passes: optional(
    int({ min: 1 }),
    1,
    "Times the training set is encoded: once as it is, or several times with random crops and RandAugment, one for each epoch in turn.",
  ),
  dtype: optional(
    choice(["bfloat16", "float32"]),
    "bfloat16",
    "Number type of the tokens.",
  ),
  max_bytes: optional(
    orNull(num({ above: 0 })),
    null,
    "The most the tokens may take on the disk; more is an error before anything is encoded.",
    "what is free there",
  ),
});

const meta = section({
  seed: optional(int({ min: 0 }), 0, "Of probes, crops and the held-out part."),
  compat: optional(
    choice(["corrected", "reference"]),
    "corrected",
    "`reference`: the published evaluation's clips, one probe trained on all training samples, and the mean over batches of their accuracies (docs/evaluation.md).",
  ),
});

const logging = section({
  folder: optional(
    orNull(text()),
    null,
    "Folder of the evaluation.",
    "{pretrain.folder}/{eval_name}/{tag}",
  ),
});

export const evalSchema = z.strictObject({
  eval_name: required(choice(evalNames), "What is evaluated."),
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
    "Continue the probes that the folder has; `--resume auto` does so anyway.",
  ),
  data: evalDataSchema,
  optimization,
  pretrain,
  probe,
  cache,
  meta,
  logging,
});

/** An evaluation's configuration as the schema leaves it. */
export type EvalConfig = z.output<typeof evalSchema>;

/** An evaluation's configuration whose defaults are known. */
export type ResolvedEvalConfig = Omit<
  EvalConfig,
  "data" | "probe" | "logging"
> & {
  data: Omit<EvalConfig["data"], "frame_step" | "modalities"> & {
    frame_step: number;
    modalities: ("video" | "audio")[];
  };
  probe: Omit<EvalConfig["probe"], "lr" | "weight_decay" | "depth"> & {
    lr: number[];
    weight_decay: number[];
    depth: number[];
  };
  logging: { folder: string };
};

/** Keys the reference reads and never uses: accepted, with one warning. */
export const evalIgnored: Record<string, string> = {
  "pretrain.use_sdpa": "attention is always the fused kernel",
  "pretrain.use_silu": "the encoder's MLP is GELU",
  "pretrain.tight_silu": "the encoder's MLP is GELU",
};

/** `data`: what the clips are and where they come from. */

import { audioSchema } from "./audio.ts";
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

export const modalities = ["video", "audio"] as const;

export const dataSchema = section({
  dataset_type: optional(
    choice(["videodataset", "audiovideodataset"]),
    "videodataset",
    "Kind of the data, in any case of letters.",
    "audiovideodataset where data.modalities has audio, else videodataset",
  ),
  datasets: required(
    list(text()),
    "Index files, one `path label` a line. `bun run index DIR -o clips.csv` makes one of a folder.",
  ),
  datasets_weights: optional(
    orNull(list(num({ above: 0 }))),
    null,
    "How often each index is drawn from, in proportion; null: by its size.",
  ),
  held_out: optional(
    list(text()),
    [],
    "Index files that are never trained on; the loss on them is logged.",
  ),
  modalities: optional(
    list(choice(modalities)),
    ["video"],
    "What the encoder sees.",
    "[video] for vjepa, else [video, audio]",
  ),
  mask_type: optional(
    choice(["multiblock3d", "random_tube"]),
    "multiblock3d",
    "Kind of the masks: union of blocks, or the same random patches at all times.",
  ),
  mask_mode: optional(
    choice(["unbiased", "reference"]),
    "unbiased",
    "`unbiased`: each sample keeps its own tokens, packed. `reference`: index lists cut to the batch's shortest, as published.",
  ),
  frame_sampling: optional(
    choice(["exact", "reference"]),
    "exact",
    "`exact`: frames are exactly the step apart and every start can be drawn. `reference`: the published positions.",
  ),
  batch_size: optional(
    orNull(int({ min: 1 })),
    null,
    "Clips a process takes each forward pass. Any two of batch_size, optimization.grad_accum and optimization.batch_size_total give the third.",
    "from optimization.batch_size_total",
  ),
  num_clips: required(int({ min: 1 }), "Clips cut from a file."),
  num_frames: required(int({ min: 1 }), "Frames of a clip."),
  tubelet_size: required(int({ min: 1 }), "Frames of a token."),
  sampling_rate: required(
    int({ min: 1 }),
    "Frames of the file from one frame of the clip to the next.",
  ),
  clip_duration: optional(
    orNull(num({ above: 0 })),
    null,
    "Seconds of a clip; given, the frame step follows from the file's frame rate and sampling_rate is not used.",
  ),
  crop_size: optional(
    int({ min: 1 }),
    224,
    "Side of the square crop, in pixels.",
  ),
  patch_size: required(int({ min: 1 }), "Side of a patch, in pixels."),
  filter_short_videos: optional(
    bool(),
    false,
    "Drop files shorter than a clip; false repeats their last frame.",
  ),
  missing_audio: optional(
    choice(["mask", "skip", "error"]),
    "mask",
    "A file without sound: `mask` trains on its picture alone, `skip` replaces it, `error` stops.",
    "mask; skip with meta.compat: reference",
  ),
  missing_video: optional(
    choice(["mask", "skip", "error"]),
    "mask",
    "A file without picture: `mask` trains on its sound alone, `skip` replaces it, `error` stops.",
    "mask; skip with meta.compat: reference",
  ),
  max_bad_fraction: optional(
    num({ min: 0, max: 1 }),
    0.05,
    "Fraction of files that may be unreadable; past it the run ends with an error.",
  ),
  num_workers: optional(
    int({ min: 0 }),
    1,
    "Threads that decode, a process; more than the machine's cores are not used.",
  ),
  audio: audioSchema,
});

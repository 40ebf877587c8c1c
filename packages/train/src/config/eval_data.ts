/** `data` of an evaluation. */

import { modalities } from "./data.ts";
import {
  bool,
  choice,
  int,
  list,
  maybe,
  num,
  optional,
  orNull,
  section,
  text,
} from "./key.ts";

const image =
  "Of image_classification_frozen, where no dataset_train and dataset_val are given.";

export const evalDataSchema = section({
  dataset_type: optional(
    choice(["videodataset", "audiovideodataset"]),
    "videodataset",
    "Kind of the data, in any case of letters.",
  ),
  modalities: optional(
    orNull(list(choice(modalities))),
    null,
    "What the encoder is given.",
    "[video, audio] for audiovideodataset and for audio-visual tasks, [audio] for audio_classification, else [video]",
  ),
  dataset_train: maybe(
    text(),
    "Index file to train the probe on, or a folder of class folders.",
  ),
  dataset_val: maybe(
    text(),
    "Index file to test it on, or a folder of class folders.",
  ),
  dataset_name: maybe(
    choice(["ImageNet", "iNat21", "Places205"]),
    `Name of the image set. ${image}`,
  ),
  root_path: maybe(text(), `Folder of the image sets. ${image}`),
  image_folder: maybe(
    text(),
    `Folder of the set below it, with train/ and val/. ${image}`,
  ),
  num_classes: maybe(int({ min: 1 }), "Classes. Of classifications."),
  multi_label: optional(
    bool(),
    false,
    "A sample may have several labels, `3;17;40` in the index: binary cross-entropy, mAP, AUC and d-prime.",
  ),
  folds: optional(
    int({ min: 1 }),
    1,
    "Cross-validation over dataset_train in so many parts, without dataset_val.",
  ),
  fold_pattern: optional(
    orNull(text()),
    null,
    "Regular expression whose first group, found in a file's name, is its fold; ESC-50's is `^(\\d)-`.",
    "folds of each class alike, drawn by meta.seed",
  ),
  fold_column: optional(
    bool(),
    false,
    "Each line of dataset_train ends in its fold: `clip.wav 3 5`.",
  ),
  frames_per_clip: optional(int({ min: 1 }), 16, "Frames of a clip."),
  num_segments: optional(
    int({ min: 1 }),
    1,
    "Clips cut from a video or sound.",
  ),
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
  missing_audio: optional(
    choice(["mask", "skip"]),
    "mask",
    "A file without sound: `mask` takes its picture alone, `skip` leaves it out and names it.",
  ),
  max_bad_fraction: optional(
    num({ min: 0, max: 1 }),
    0.5,
    "Fraction of files that may be unreadable; they are named in result.json. Past it the evaluation ends with an error.",
  ),
  num_workers: optional(
    int({ min: 0 }),
    12,
    "Threads that decode; more than the machine's cores are not used.",
  ),
});

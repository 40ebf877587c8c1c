/** `data_aug`: what training does to the picture. */

import { bool, num, optional, pair, section } from "./key.ts";

export const dataAugSchema = section({
  auto_augment: optional(
    bool(),
    false,
    "RandAugment, `rand-m7-n4-mstd0.5-inc1`, the same for all frames.",
  ),
  motion_shift: optional(bool(), false, "Let the crop move over the clip."),
  random_resize_aspect_ratio: optional(
    pair({ above: 0 }),
    [3 / 4, 4 / 3],
    "Least and greatest width over height of the crop, log-uniform.",
  ),
  random_resize_scale: optional(
    pair({ above: 0 }),
    [0.3, 1],
    "Least and greatest area of the crop, as a fraction of the frame.",
  ),
  horizontal_flip: optional(
    num({ min: 0, max: 1 }),
    0.5,
    "Probability of mirroring the clip.",
  ),
  reprob: optional(
    num({ min: 0, max: 1 }),
    0,
    "Probability of random erasing.",
  ),
});

/** `loss`: what is minimised. */

import { z } from "zod";

import { num, optional, required, section } from "./key.ts";

const weight = z
  .strictObject({
    video: optional(num({ min: 0 }), 1, "Weight of the picture's targets."),
    audio: optional(num({ min: 0 }), 1, "Weight of the sound's targets."),
  })
  .nullable()
  .meta({
    expected: "null, or video and audio with a number of at least 0 each",
  });

export const lossSchema = section({
  loss_exp: required(
    num({ above: 0 }),
    "Exponent p of the loss |prediction − target|^p / p.",
  ),
  reg_coeff: required(
    num({ min: 0 }),
    "Weight of the variance regulariser of the predictions.",
  ),
  modality_weight: optional(
    weight,
    null,
    "Weights of the targets of each modality, `{ video: 1, audio: 1 }`; null: every target token counts the same.",
  ),
});

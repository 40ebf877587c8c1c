/** Encoders of video, pictures, and video with sound: outputs and gradients. */

import type { DType } from "@avjepa/core";
import type { ParityCase } from "../case.ts";
import { makeEncoder } from "./models.ts";
import {
  backwardLoss,
  compareInputGradient,
  compareOutputs,
  readMasks,
} from "./outputs.ts";

export async function runEncoder(
  given: ParityCase,
  dtype: DType,
): Promise<void> {
  const audible = given.has("audio");
  // biome-ignore lint: checked by the model's constructor.
  using encoder = makeEncoder(given, given.hyper as any, audible, dtype);
  given.loadParameters(encoder);
  const video = given.tensor("x", { dtype, requiresGrad: true });
  const audio = audible
    ? given.tensor("audio", { dtype, requiresGrad: true })
    : undefined;
  const masks = audible
    ? readMasks(given, "mask_v", "mask_a")
    : readMasks(given, "mask", null);
  const { data } = encoder.forward({ video, audio }, masks);
  await compareOutputs(given, data);
  if (!(await backwardLoss(given, data, dtype))) return;
  await given.compareGradients(encoder);
  await compareInputGradient(given, "x", video);
  await compareInputGradient(given, "audio", audio);
}

/** Predictors alone, and behind their encoders. */

import { concat, type DType, type Tensor } from "@avjepa/core";
import { type PackedIndices, Tokens } from "@avjepa/models";
import type { ParityCase } from "../case.ts";
import { makeEncoder, makePredictor } from "./models.ts";
import {
  backwardLoss,
  compareInputGradient,
  compareOutputs,
  readMasks,
} from "./outputs.ts";

export async function runPredictor(
  given: ParityCase,
  dtype: DType,
): Promise<void> {
  const audible = given.kind === "predictor_av";
  const names = audible
    ? (["enc_v", "enc_a", "pred_v", "pred_a"] as const)
    : (["enc", null, "pred", null] as const);
  const context = readMasks(given, names[0], names[1]) as PackedIndices;
  const targets = readMasks(given, names[2], names[3]) as PackedIndices;
  if (given.hyper.encoder === undefined)
    await runAlone(given, dtype, audible, context, targets);
  else await runBoth(given, dtype, audible, context, targets);
}

async function runAlone(
  given: ParityCase,
  dtype: DType,
  audible: boolean,
  context: PackedIndices,
  targets: PackedIndices,
) {
  using predictor = makePredictor(given, given.hyper.predictor, audible, dtype);
  given.loadParameters(predictor);
  const inputs = (audible ? ["z_v", "z_a"] : ["z"]).map((name) =>
    given.tensor(name, { dtype, requiresGrad: true }),
  );
  // Video and sound of each sample behind each other.
  const data = concat(inputs, 1).reshape(context.position.length, -1);
  const maskIndices = [given.hyper.mask_index as number];
  const y = predictor.forward(new Tokens(data, context), targets, {
    maskIndices,
  });
  await compareOutputs(given, y.data);
  if (!(await backwardLoss(given, y.data, dtype))) return;
  await given.compareGradients(predictor);
  for (const [i, name] of (audible ? ["z_v", "z_a"] : ["z"]).entries()) {
    await compareInputGradient(given, name, inputs[i] as Tensor);
  }
}

async function runBoth(
  given: ParityCase,
  dtype: DType,
  audible: boolean,
  context: PackedIndices,
  targets: PackedIndices,
) {
  using encoder = makeEncoder(given, given.hyper.encoder, audible, dtype);
  using predictor = makePredictor(
    given,
    given.hyper.predictor,
    audible,
    dtype,
    encoder,
  );
  given.loadParameters(encoder, "encoder.");
  given.loadParameters(predictor, "predictor.");
  const video = given.tensor("x", { dtype, requiresGrad: true });
  const audio = audible
    ? given.tensor("audio", { dtype, requiresGrad: true })
    : undefined;
  const y = predictor.forward(
    encoder.forward({ video, audio }, context),
    targets,
  );
  await compareOutputs(given, y.data);
  if (!(await backwardLoss(given, y.data, dtype))) return;
  await given.compareGradients(encoder, "encoder.");
  await given.compareGradients(predictor, "predictor.");
  await compareInputGradient(given, "x", video);
  await compareInputGradient(given, "audio", audio);
}

/** A new run's weights from a checkpoint of another program. */

import { AvjepaError, noGrad } from "@avjepa/core";
import { loadForeignWeights, readForeignCheckpoint } from "@avjepa/models";

import { modelNamesInFiles } from "./models.ts";
import type { Trainer } from "./train_step.ts";

/**
 * Loads encoder, predictor and target encoder of a file of V-JEPA, AVJEPA or
 * V-JEPA 2 into a run's models, strictly. Without a target encoder in the file
 * it is the encoder; without a predictor that begins anew.
 *
 * @returns what the user should know, a line each.
 * @throws AvjepaError AVJ_FOREIGN, or AVJ_STATE_DICT listing what does not fit.
 */
export async function initialiseFromForeign(
  { config, models }: Pick<Trainer, "config" | "models">,
  path: string,
): Promise<string[]> {
  const found = await readForeignCheckpoint(path);
  const { encoder, predictor, targetEncoder } = found;
  if (encoder === undefined && targetEncoder === undefined)
    throw new AvjepaError("AVJ_FOREIGN", `${path} has no encoder`, {
      hint: "meta.init_from takes checkpoints of pretraining",
    });
  const positions =
    config.meta.compat === "reference" ? "analytic" : "interpolate";
  const notes: string[] = [];
  const load = async (
    model: keyof typeof models,
    weights: typeof encoder,
  ): Promise<void> => {
    if (weights === undefined) return;
    const own = await loadForeignWeights(models[model], weights, {
      path: `${path}: ${modelNamesInFiles[model]}`,
      positions,
      allowMissing: config.meta.allow_missing,
    });
    notes.push(...own.map((note) => `${modelNamesInFiles[model]}: ${note}`));
  };
  await load("encoder", encoder ?? targetEncoder);
  await load("predictor", predictor);
  if (predictor === undefined)
    notes.push(`${path} has no predictor: it begins anew`);
  if (targetEncoder !== undefined) await load("target", targetEncoder);
  else noGrad(() => models.target.loadStateDict(models.encoder.stateDict()));
  return notes;
}

/** A checkpoint's weights into a module that is not trained any more. */

import type { nn } from "@avjepa/core";
import { freeze } from "@avjepa/models";

import { weightsUnder } from "../models.ts";
import type { EncoderFacts } from "./facts.ts";

/**
 * Loads the tensors of a file that are under `name.` into a module, which is
 * without gradients from then on. Position tables are formulas: at another size
 * than the run's the one of that size takes the checkpoint's place.
 *
 * @returns what the user should know, a line each.
 * @throws AvjepaError AVJ_STATE_DICT
 */
export function loadFrozen(
  module: nn.Module,
  name: string,
  tensors: nn.StateDict,
  facts: Pick<EncoderFacts, "crop" | "frames">,
  input: { crop: number; frames: number },
): string[] {
  const weights = weightsUnder(`${name}.`, tensors);
  const notes = fitPositions(module, weights, facts, input);
  module.loadStateDict(weights);
  freeze(module);
  return notes;
}

function fitPositions(
  module: nn.Module,
  weights: nn.StateDict,
  facts: Pick<EncoderFacts, "crop" | "frames">,
  { crop, frames }: { crop: number; frames: number },
): string[] {
  const notes: string[] = [];
  for (const [name, parameter] of module.namedParameters()) {
    const given = weights[name];
    if (!isVideoTable.test(name) || given === undefined) continue;
    if (given.shape.join() === parameter.shape.join()) continue;
    weights[name] = parameter;
    notes.push(
      `${name}: the model was trained on ${facts.frames} frames of ${facts.crop} pixels; the table of sines and cosines of ${frames} frames of ${crop} pixels is used`,
    );
  }
  return notes;
}

const isVideoTable = /^((video_)?pos_embed|predictor_pos_embed(_v)?)$/;

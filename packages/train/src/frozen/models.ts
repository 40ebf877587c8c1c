/** All of a run's models, frozen. */

import { join } from "node:path";

import { AvjepaError, loadSafetensors } from "@avjepa/core";
import { isForeignCheckpoint } from "@avjepa/models";

import { openCheckpoint } from "../checkpoint/store.ts";
import type { ResolvedPretrainConfig } from "../config/index.ts";
import { buildModels, type Models, modelNamesInFiles } from "../models.ts";
import type { FrozenModel, FrozenModelOptions } from "./encoder.ts";
import { checkSizes, encoderFacts } from "./facts.ts";
import { loadFrozen } from "./weights.ts";

/** Context encoder, predictor and target encoder, all without gradients. */
export interface FrozenModels extends Omit<FrozenModel, "encoder"> {
  models: Models;
  /** The configuration of the run, as far as its checkpoint keeps it. */
  config: ResolvedPretrainConfig;
}

/**
 * Reads all of a run's models.
 *
 * @throws AvjepaError as {@link loadFrozenModel}.
 */
export async function loadFrozenModels(
  path: string,
  options: Omit<FrozenModelOptions, "key">,
): Promise<FrozenModels> {
  if (isForeignCheckpoint(path))
    throw new AvjepaError(
      "AVJ_CONFIG",
      `${path} is a published checkpoint, but this needs the predictor of a run of AV-JEPA`,
      { hint: "name a run folder or one of its checkpoints" },
    );
  const checkpoint = await openCheckpoint(path);
  const facts = encoderFacts(checkpoint);
  const { crop = facts.crop, frames = facts.frames, device } = options;
  checkSizes(facts, crop, frames);
  const kept = checkpoint.state.config as unknown as ResolvedPretrainConfig;
  const config: ResolvedPretrainConfig = {
    ...kept,
    data: { ...kept.data, crop_size: crop, num_frames: frames },
    optimization: { ...kept.optimization, activation_checkpointing: "none" },
  };
  // The sound is as it was, whatever the clips in use are.
  if (facts.audio !== null)
    config.data.audio = { ...kept.data.audio, duration: facts.audio.seconds };
  const models = buildModels(config, device);
  const { tensors } = await loadSafetensors(
    join(checkpoint.path, "weights.safetensors"),
    { device },
  );
  const notes: string[] = [];
  try {
    for (const [part, name] of Object.entries(modelNamesInFiles)) {
      const module = models[part as keyof Models];
      notes.push(...loadFrozen(module, name, tensors, facts, { crop, frames }));
    }
  } finally {
    for (const values of Object.values(tensors)) values.dispose();
  }
  const hash = checkpoint.state.files["weights.safetensors"]?.sha256 ?? "";
  return { models, facts, config, path: checkpoint.path, hash, notes };
}

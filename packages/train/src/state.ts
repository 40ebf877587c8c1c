/** A run's whole state in a checkpoint, and back. */

import { join } from "node:path";

import {
  AvjepaError,
  type HostTensor,
  type Tensor,
  loadSafetensors,
  readTensors,
  saveSafetensors,
} from "@avjepa/core";

import type { Cursor } from "@avjepa/data";

import type { Checkpoint, CheckpointStore } from "./checkpoint/store.ts";
import {
  audioGrid,
  checkUnchanged,
  configHash,
  portableConfig,
} from "./config/index.ts";
import type { PortableConfig, ResolvedPretrainConfig } from "./config/index.ts";
import { initialiseFromForeign } from "./init_foreign.ts";
import { loadWeights, weightsOf } from "./models.ts";
import type { ForeignStart } from "./previous_run.ts";
import type { Trainer } from "./train_step.ts";

/** The optimizer's models, by their place in it. */
const optimized = ["encoder", "predictor"];

/** A run's state on the host, which training no longer changes. */
export interface RunCopy {
  step: number;
  state: Record<string, unknown>;
  weights: Record<string, HostTensor>;
  moments: Record<string, HostTensor>;
}

/**
 * Copies the run after `step` steps: all of it as it is now.
 *
 * Every process calls it, since the moments may be shared out over them; rank 0
 * gets the copy.
 */
export async function copyRun(
  trainer: Trainer,
  step: number,
  cursor: Cursor,
): Promise<RunCopy | undefined> {
  const { config, models, adamw, collective } = trainer;
  if (collective.rank > 0) {
    if (config.optimization.zero1) await adamw.copyState(false);
    return undefined;
  }
  const state = {
    app: config.app,
    config: portableConfig(config),
    config_hash: configHash(config),
    audio: config.app === "vjepa" ? null : audioConvention(config),
    seed: config.meta.seed,
    cursor,
    optimizer_steps: adamw.steps,
  };
  const [weights, moments] = await Promise.all([
    readTensors(weightsOf(models)),
    adamw.copyState(),
  ]);
  const named = renamed(moments, (name) =>
    name.replace(/^\d+/, (i) => optimized[Number(i)] ?? i),
  );
  return { step, state, weights, moments: named };
}

/** Writes a copy as a checkpoint. */
export async function writeRun(
  store: CheckpointStore,
  { step, state, weights, moments }: RunCopy,
  options: { epoch?: number } = {},
): Promise<Checkpoint> {
  return store.save(
    step,
    state,
    async (folder) => {
      await saveSafetensors(join(folder, "weights.safetensors"), weights);
      await saveSafetensors(join(folder, "optim-r0of1.safetensors"), moments);
    },
    options,
  );
}

/** What the features of a checkpoint mean by sound. */
function audioConvention(config: ResolvedPretrainConfig): object {
  const { preset, mean, std, num_mel } = config.data.audio;
  return { preset, mean, std, num_mel, ...audioGrid(config) };
}

/**
 * Puts a run back to where a checkpoint left it.
 *
 * @param options.allowChange goes on though the configuration differs.
 * @returns what is to be told: changes that were allowed.
 * @throws AvjepaError AVJ_CONFIG_CHANGED listing the keys that differ,
 *   AVJ_STATE_DICT for a checkpoint of another model.
 */
export async function restoreRun(
  trainer: Trainer,
  checkpoint: Checkpoint,
  options: { allowChange: boolean },
): Promise<{ step: number; cursor: Cursor; notes: string[] }> {
  const { config, models, adamw, device } = trainer;
  const changes = checkUnchanged(
    checkpoint.state.config as PortableConfig,
    config,
    config.logging.folder,
    options.allowChange,
  );
  const notes = changes.map((change) => `changed: ${change}`);
  await loadFile(checkpoint, "weights.safetensors", device, (weights) =>
    loadWeights(models, weights),
  );
  const { optimizer_steps, cursor, step } = checkpoint.state as unknown as {
    optimizer_steps: number;
    cursor: Cursor;
    step: number;
  };
  await loadFile(checkpoint, "optim-r0of1.safetensors", device, (moments) =>
    adamw.loadStateDict(
      renamed(moments, (name) =>
        name.replace(/^[^.]+/, (model) => String(optimized.indexOf(model))),
      ),
      optimizer_steps,
    ),
  );
  return { step, cursor, notes };
}

/**
 * Copies only the weights of another run's checkpoint, or of another program's.
 *
 * @returns what the user should know, a line each.
 */
export async function initialiseFrom(
  trainer: Trainer,
  checkpoint: Checkpoint | ForeignStart,
): Promise<string[]> {
  if ("foreign" in checkpoint)
    return initialiseFromForeign(trainer, checkpoint.path);
  await loadFile(checkpoint, "weights.safetensors", trainer.device, (weights) =>
    loadWeights(trainer.models, weights),
  );
  return [];
}

async function loadFile(
  checkpoint: Checkpoint,
  name: string,
  device: string,
  use: (tensors: Record<string, Tensor>) => void,
): Promise<void> {
  const path = join(checkpoint.path, name);
  const { tensors } = await loadSafetensors(path, { device });
  try {
    use(tensors);
  } catch (error) {
    if (!AvjepaError.is(error) || error.code !== "AVJ_STATE_DICT") throw error;
    throw new AvjepaError(error.code, `${path}: ${error.message}`, {
      ...(error.hint ? { hint: error.hint } : {}),
      cause: error,
    });
  } finally {
    for (const tensor of Object.values(tensors)) tensor.dispose();
  }
}

function renamed<T>(
  values: Record<string, T>,
  rename: (name: string) => string,
): Record<string, T> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [rename(name), value]),
  );
}

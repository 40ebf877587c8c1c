/** Probes in checkpoints: saved while they train, and what is kept of them in the end. */

import {
  AvjepaError,
  loadSafetensors,
  saveSafetensors,
  type Tensor,
} from "@avjepa/core";
import type { ProbeGrid, ProbeShape, ProbeTraining } from "@avjepa/evals";
import { type Checkpoint, CheckpointStore } from "@avjepa/train";
import { join } from "node:path";

/** What a probe's checkpoint is of. */
export interface ProbeIdentity {
  /** `eval_name`, and which part of it. */
  task: string;
  /** SHA-256 of all that decides the probes. */
  key: string;
  shape: ProbeShape;
  grid: ProbeGrid["points"];
  /** SHA-256 of the encoder's weights. */
  encoder: string;
  /** The probe that was chosen; null while training has not come to choose. */
  best?: number | null;
}

/** What else is kept of a training under way. */
export interface ProbeProgress {
  step: number;
  sums: ProbeTraining["sums"];
}

/** The checkpoints of one training. */
export class ProbeStore {
  readonly #store: CheckpointStore;
  readonly #identity: ProbeIdentity;

  constructor(folder: string, tag: string, identity: ProbeIdentity) {
    this.#store = new CheckpointStore(folder, tag, 1);
    this.#store.clean();
    this.#identity = identity;
  }

  /** Saves probes, their optimizers, how far they came, and which one is chosen so far. */
  async save(
    grid: ProbeGrid,
    training: ProbeTraining,
    best: number | null,
  ): Promise<Checkpoint> {
    const { step, sums } = training;
    const state = { ...this.#identity, sums, best };
    return this.#store.save(step, state, async (folder) => {
      const weights = renamed(grid.weights(), (name) => `probe.${name}`);
      await saveSafetensors(join(folder, "weights.safetensors"), weights);
      const moments = grid.moments();
      try {
        await saveSafetensors(join(folder, "optim-r0of1.safetensors"), moments);
      } finally {
        for (const view of Object.values(moments)) view.dispose();
      }
    });
  }

  /**
   * Puts probes back to where the newest checkpoint left them.
   *
   * @returns how far they had come; undefined where there is no checkpoint.
   * @throws AvjepaError AVJ_CONFIG_CHANGED for probes of another task or configuration.
   */
  async restore(grid: ProbeGrid): Promise<ProbeProgress | undefined> {
    const checkpoint = await this.#store.latest();
    if (checkpoint === undefined) return undefined;
    const found = checkpoint.state as unknown as ProbeIdentity & ProbeProgress;
    this.#requireSame(found, checkpoint.path);
    const { device } = grid;
    const load = async (name: string) =>
      (await loadSafetensors(join(checkpoint.path, name), { device })).tensors;
    const weights = await load("weights.safetensors");
    const moments = await load("optim-r0of1.safetensors");
    try {
      grid.restore(
        renamed(weights, (name) => name.replace(/^probe\./, "")),
        moments,
        checkpoint.step,
      );
    } finally {
      for (const values of [
        ...Object.values(weights),
        ...Object.values(moments),
      ])
        values.dispose();
    }
    return { step: checkpoint.step, sums: found.sums };
  }

  #requireSame(found: ProbeIdentity, path: string): void {
    const { task, key } = this.#identity;
    const hint =
      "name another --folder, or start anew with --resume never (the probes there are overwritten)";
    if (found.task !== task)
      throw new AvjepaError(
        "AVJ_CONFIG_CHANGED",
        `${path} holds ${found.task ? `probes of ${found.task}` : "no probes"}, not of ${task}`,
        { hint },
      );
    if (found.key !== key)
      throw new AvjepaError(
        "AVJ_CONFIG_CHANGED",
        `${path} holds probes of the same task, but the encoder, the data or the configuration has changed since`,
        { hint },
      );
  }
}

function renamed(
  values: Record<string, Tensor>,
  rename: (name: string) => string,
): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [rename(name), value]),
  );
}

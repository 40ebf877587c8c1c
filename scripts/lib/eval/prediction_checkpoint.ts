/** Checkpoints of the prediction task: the decoder, its optimizer, and the place in the data. */

import {
  AvjepaError,
  loadSafetensors,
  type optim,
  saveSafetensors,
} from "@avjepa/core";
import type { PixelDecoder } from "@avjepa/evals";
import type { CheckpointStore } from "@avjepa/train";
import { join } from "node:path";

/** What a run has to have in common with the one that goes on with it. */
export interface Identity {
  task: string;
  encoder: string;
  config_hash: string;
}

/** Where training stands. */
export interface Progress {
  step: number;
  cursor: { pass: number; position: number };
}

/** Saves what {@link restore} reads. */
export async function save(
  store: CheckpointStore,
  decoder: PixelDecoder,
  adamw: optim.AdamW,
  identity: Identity,
  { step, cursor }: Progress,
): Promise<void> {
  await store.save(step, { ...identity, cursor }, async (folder) => {
    const weights = Object.fromEntries(decoder.namedParameters("probe."));
    await saveSafetensors(join(folder, "weights.safetensors"), weights);
    const moments = adamw.stateDict();
    try {
      await saveSafetensors(join(folder, "optim-r0of1.safetensors"), moments);
    } finally {
      for (const view of Object.values(moments)) view.dispose();
    }
  });
}

/**
 * Fills decoder and optimizer from the latest checkpoint, if there is one.
 *
 * @throws AvjepaError AVJ_CONFIG_CHANGED where it is of another task, encoder or configuration.
 */
export async function restore(
  store: CheckpointStore,
  decoder: PixelDecoder,
  adamw: optim.AdamW,
  identity: Identity,
  device: string,
): Promise<Progress> {
  const checkpoint = await store.latest();
  if (checkpoint === undefined)
    return { step: 0, cursor: { pass: 0, position: 0 } };
  const found = checkpoint.state as unknown as Identity &
    Pick<Progress, "cursor">;
  for (const key of ["task", "encoder", "config_hash"] as const)
    if (found[key] !== identity[key])
      throw new AvjepaError(
        "AVJ_CONFIG_CHANGED",
        `${checkpoint.path} is of another ${{ task: "task", encoder: "encoder", config_hash: "configuration" }[key]}`,
        { hint: "name another --folder, or start anew with --resume never" },
      );
  const load = async (name: string) =>
    (await loadSafetensors(join(checkpoint.path, name), { device })).tensors;
  const weights = await load("weights.safetensors");
  const moments = await load("optim-r0of1.safetensors");
  try {
    decoder.loadStateDict(
      Object.fromEntries(
        Object.entries(weights).map(([name, values]) => [
          name.replace(/^probe\./, ""),
          values,
        ]),
      ),
    );
    adamw.loadStateDict(moments, checkpoint.step);
  } finally {
    for (const values of [...Object.values(weights), ...Object.values(moments)])
      values.dispose();
  }
  return { step: checkpoint.step, cursor: found.cursor };
}

/** The loss on clips that are never trained on. */

import { toTrainBatch, heldOutClips } from "./clip_batches.ts";
import { failTogether } from "./launch/agree.ts";
import { type Trainer, evaluateLoss } from "./train_step.ts";

/**
 * Mean JEPA loss over `data.held_out`, without gradients: each pass sees the
 * same crops and masks, so that values of different steps compare.
 *
 * @returns undefined when the run has no such index.
 */
export async function heldOutLoss(
  trainer: Trainer,
): Promise<number | undefined> {
  const { config, collective } = trainer;
  if (config.data.held_out.length === 0) return undefined;
  await using loader = heldOutClips(config, collective);
  let sum = 0;
  let clips = 0;
  let failure: unknown;
  try {
    for await (const batch of loader) {
      sum += batch.rows * (await evaluateLoss(trainer, toTrainBatch(batch)));
      clips += batch.rows;
    }
  } catch (error) {
    failure = error ?? new Error("no held-out clips");
  }
  const failed = failure === undefined ? 0 : 1;
  const [total = 0, count = 0, failures = 0] = await collective.sum([
    sum,
    clips,
    failed,
  ]);
  if (failures > 0) await failTogether(collective, failure);
  return total / count;
}

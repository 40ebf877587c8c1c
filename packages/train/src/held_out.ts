/** The loss on clips that are never trained on. */

import { AvjepaError } from "@avjepa/core";

import { toTrainBatch, heldOutClips } from "./clip_batches.ts";
import { failTogether } from "./launch/agree.ts";
import type { RunFileEvent } from "./log/file_report.ts";
import { type Trainer, evaluateLoss } from "./train_step.ts";

/** What a pass over the held-out index came to. */
export interface HeldOut {
  /** Mean JEPA loss over the clips of all ranks. */
  loss: number;
  /** News of this rank's files. */
  events: RunFileEvent[];
}

/**
 * Mean JEPA loss over `data.held_out`, without gradients: each pass sees the
 * same crops and masks, so that values of different steps compare.
 *
 * @returns undefined when the run has no such index.
 * @throws AvjepaError AVJ_BAD_FILES past `data.max_bad_fraction`
 */
export async function heldOutLoss(
  trainer: Trainer,
): Promise<HeldOut | undefined> {
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
    failure = AvjepaError.is(error) ? ofHeldOut(error) : error;
  }
  const failed = failure === undefined ? 0 : 1;
  const [total = 0, count = 0, failures = 0] = await collective.sum([
    sum,
    clips,
    failed,
  ]);
  if (failures > 0) await failTogether(collective, failure);
  return {
    loss: total / count,
    events: loader.events.map((event) => ({ ...event, heldOut: true })),
  };
}

/** An error of the loader, which does not know what its files are for. */
function ofHeldOut({ code, message, hint }: AvjepaError): AvjepaError {
  return new AvjepaError(
    code,
    `data.held_out: ${message}`,
    hint === undefined ? {} : { hint },
  );
}

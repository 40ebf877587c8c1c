/** The probe that pretraining tries now and then, where the configuration names labelled files. */

import { AvjepaError } from "@avjepa/core";
import { ClipLoader, readIndex } from "@avjepa/data";
import {
  type FrozenEncoder,
  type LabelledClips,
  type OnlineFigures,
  onlineProbe,
} from "@avjepa/evals";
import type { ResolvedPretrainConfig } from "@avjepa/train";

const batch = 16;

/** When a probe is due, and the probe. */
export interface OnlineProbe {
  due(step: number): boolean;
  measure(encoder: FrozenEncoder): Promise<OnlineFigures>;
}

/**
 * @returns null where the configuration asks for none.
 * @throws AvjepaError AVJ_INDEX; AVJ_LABEL for a label below 0, or of the test files alone.
 */
export function makeOnlineProbe(
  config: ResolvedPretrainConfig,
  device: string,
): OnlineProbe | null {
  const { data, logging, meta } = config;
  const { online_probe_train: train, online_probe_val: val } = logging;
  if (train === null || val === null) return null;
  const clips = (index: string): LabelledClips => ({
    batch,
    labels: readIndex(index).labels,
    open: () =>
      new ClipLoader(index, {
        data: { ...data, datasets_weights: null, num_clips: 1 },
        batch,
        order: "sequential",
        passes: 1,
        evaluation: { views: 1 },
        device,
      }),
  });
  const both = { train: clips(train), val: clips(val) };
  const known = new Set(Array.from(both.train.labels));
  const strange = Array.from(both.val.labels).find(
    (label) => label < 0 || !known.has(label),
  );
  if (strange !== undefined)
    throw new AvjepaError(
      "AVJ_LABEL",
      `${val} has the label ${strange}, which ${train} does not have`,
      { hint: "both indexes must be of the same classes, numbered from 0" },
    );
  const classes = Math.max(...known) + 1;
  return {
    due: (step) => step % logging.online_probe_every_steps === 0,
    measure: (encoder) =>
      onlineProbe(encoder, both, {
        modalities: data.modalities,
        classes,
        device,
        bfloat16: meta.dtype === "bfloat16",
      }),
  };
}

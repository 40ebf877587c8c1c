/** Which kinds of cases there are, and what runs them. */

import type { DType } from "@avjepa/core";
import type { ParityCase } from "./case.ts";
import { runCheckpoints } from "./kinds/checkpoints.ts";
import { runClipSampling } from "./kinds/clip-sampling.ts";
import { runMasks } from "./kinds/masks.ts";
import { runMetrics } from "./kinds/metrics.ts";
import { runRng } from "./kinds/rng.ts";
import { runFbankStandard, runMelReference } from "./kinds/spectrogram.ts";
import { runTransforms } from "./kinds/transforms.ts";
import { runAdamw, runEma } from "./kinds/optimizer.ts";
import { runEncoder } from "./kinds/encoder.ts";
import { runHfVjepa2 } from "./kinds/hf-vjepa2.ts";
import { runLoss } from "./kinds/loss.ts";
import { runPooler } from "./kinds/pooler.ts";
import { runPosembed } from "./kinds/posembed.ts";
import { runPredictor } from "./kinds/predictor.ts";
import { runSchedules } from "./kinds/schedules.ts";
import { runStateDictNames } from "./kinds/state-dict-names.ts";
import { runTrajectory } from "./kinds/trajectory.ts";

/** Compares one case; computes in `dtype`. */
export type Runner = (given: ParityCase, dtype: DType) => Promise<void> | void;

export interface Kind {
  run: Runner;
  /** Each is a run of its own, held to the same tolerance. */
  dtypes: readonly DType[];
}

const both = ["float64", "float32"] as const;
/** What is exact, or computed in one precision only. */
const once = ["float32"] as const;

export const kinds: Record<string, Kind> = {
  adamw: { run: runAdamw, dtypes: both },
  checkpoints: { run: runCheckpoints, dtypes: both },
  clip_sampling: { run: runClipSampling, dtypes: once },
  ema: { run: runEma, dtypes: both },
  encoder_av: { run: runEncoder, dtypes: both },
  encoder_image: { run: runEncoder, dtypes: both },
  encoder_video: { run: runEncoder, dtypes: both },
  fbank_standard: { run: runFbankStandard, dtypes: once },
  hf_vjepa2: { run: runHfVjepa2, dtypes: both },
  loss: { run: runLoss, dtypes: both },
  masks: { run: runMasks, dtypes: once },
  mel_reference: { run: runMelReference, dtypes: once },
  metrics: { run: runMetrics, dtypes: once },
  pooler: { run: runPooler, dtypes: both },
  posembed: { run: runPosembed, dtypes: both },
  predictor_av: { run: runPredictor, dtypes: both },
  predictor_video: { run: runPredictor, dtypes: both },
  rng: { run: runRng, dtypes: once },
  schedules: { run: runSchedules, dtypes: once },
  state_dict_names: { run: runStateDictNames, dtypes: once },
  trajectory: { run: runTrajectory, dtypes: both },
  transforms: { run: runTransforms, dtypes: once },
};

/** Kinds that are known, but that nothing here runs yet, with what they wait for. */
export const pending: Record<string, string> = {};

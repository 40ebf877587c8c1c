/** Which kinds of cases there are, and what runs them. */

import type { DType } from "@avjepa/core";
import type { ParityCase } from "./case.ts";
import { runAdamw, runEma } from "./kinds/optimizer.ts";
import { runEncoder } from "./kinds/encoder.ts";
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
  ema: { run: runEma, dtypes: both },
  encoder_av: { run: runEncoder, dtypes: both },
  encoder_image: { run: runEncoder, dtypes: both },
  encoder_video: { run: runEncoder, dtypes: both },
  loss: { run: runLoss, dtypes: both },
  pooler: { run: runPooler, dtypes: both },
  posembed: { run: runPosembed, dtypes: both },
  predictor_av: { run: runPredictor, dtypes: both },
  predictor_video: { run: runPredictor, dtypes: both },
  schedules: { run: runSchedules, dtypes: once },
  state_dict_names: { run: runStateDictNames, dtypes: once },
  trajectory: { run: runTrajectory, dtypes: both },
};

/** Kinds that are known, but that nothing here runs yet, with what they wait for. */
export const pending: Record<string, string> = {
  checkpoints: "reading of torch.save files",
  clip_sampling: "bindings of the data package",
  fbank_standard: "bindings of the data package",
  hf_vjepa2: "models of V-JEPA 2",
  masks: "bindings of the data package",
  mel_reference: "bindings of the data package",
  metrics: "metrics of the evaluations",
  rng: "bindings of the data package",
  transforms: "bindings of the data package",
};

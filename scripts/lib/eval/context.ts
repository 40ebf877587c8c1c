/** What all parts of an evaluation share. */

import type { FrozenModel, ResolvedEvalConfig, StopFlag } from "@avjepa/train";

import type { Stages } from "./stage.ts";

export interface EvalContext {
  config: ResolvedEvalConfig;
  /** Where the evaluation writes. */
  folder: string;
  /** Prefix of its files. */
  tag: string;
  device: string;
  model: FrozenModel;
  stages: Stages;
  stop: StopFlag;
  /** Take no notice of probes that are there. */
  anew: boolean;
  /** `--steps`: steps after which probes stop training. */
  steps?: number | undefined;
}

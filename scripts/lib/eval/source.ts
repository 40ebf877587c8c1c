/** Where an evaluation's samples come from: clips or pictures. */

import type {
  FrozenEncoder,
  Inputs,
  SampleLoader,
  SequenceOptions,
} from "@avjepa/evals";
import type { FrozenModel, ResolvedEvalConfig } from "@avjepa/train";

/** What sources are made with. */
export interface SourceContext {
  model: FrozenModel;
  config: ResolvedEvalConfig;
  device: string;
  inputs: Inputs;
}

/** The samples of an index, cut in one way. */
export interface SampleSource {
  /** Samples of a batch. */
  batch: number;
  /** All that decides what a sample becomes. */
  settings: Record<string, unknown>;
  /** Tokens of a whole sample, in all inputs. */
  tokens: number;
  sequences: SequenceOptions;
  encoder: FrozenEncoder;
  /** Opens the loader at a sample. */
  open(position: number): SampleLoader;
}

/** What frozen features are worth: token caches and probes. */

export { checkLabels, countClasses, type LabelledIndex } from "./labels.ts";
export { namedFolds, numberedFolds, stratifiedFolds } from "./probes/folds.ts";
export { type Split, splitHeldOut } from "./probes/held_out.ts";
export { knnPredictions } from "./probes/knn.ts";
export {
  type LinearProbeOptions,
  trainLinearProbes,
} from "./probes/linear_probe.ts";
export {
  type LabelledClips,
  type OnlineFigures,
  onlineProbe,
} from "./probes/online_probe.ts";
export { pooledOf, type PooledFeatures } from "./probes/pooled.ts";
export {
  addProbabilities,
  emptyPredictions,
  enterScores,
  predictAll,
  type Predictions,
  type PredictOptions,
  scatterPredictions,
} from "./probes/predictions.ts";
export {
  type GridPoint,
  gridPoints,
  ProbeGrid,
  type ProbeGridOptions,
  type ProbeShape,
  type ProbeStep,
} from "./probes/probe_grid.ts";
export {
  type EpochSums,
  type Labels,
  ProbeTraining,
  type TrainOptions,
} from "./probes/train_probes.ts";
export {
  type EncodedBatch,
  encodeBatch,
  type FrozenEncoder,
  type Inputs,
  onlyModalities,
  type SampleBatch,
  type SampleTokens,
  type SequenceOptions,
  type SkippedFile,
  type TokenType,
} from "./tokens/encode_clips.ts";
export { FrameByFrame } from "./tokens/frame_by_frame.ts";
export {
  encodeIndex,
  type EncodeOptions,
  type SampleLoader,
} from "./tokens/encode_index.ts";
export {
  type CacheSettings,
  settingsKey,
  TokenCache,
} from "./tokens/token_cache.ts";
export { type TokenBatch, TokenSet } from "./tokens/token_set.ts";
export * from "./metrics/index.ts";
export {
  confusionPicture,
  type GreyPicture,
} from "./reports/confusion_picture.ts";
export { classTable, confusionTable } from "./reports/tables.ts";
export {
  type CrossModalModels,
  crossModalRows,
  type CrossModalVectors,
} from "./retrieval/cross_modal.ts";
export { centred, type Recall, recallBetween } from "./retrieval/recall.ts";
export * from "./prediction/index.ts";
